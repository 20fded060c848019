"""One pass over a data set's files, which remembers what it has seen and ends in a bounded time."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from .faults import Fault
from .samples import Reading, sample_faults

_RULES = 1  # raised whenever something that passed before may be a fault
_CHUNK = 64  # images between two looks at the clock
_FIRST_WORD, _NEXT_WORD = 5, 15  # seconds


class Seen:
    """What was found to be right: a file of 8-byte fingerprints of names, sizes, times and what was expected.

    Whatever is wrong is not kept, so it is looked at again. A file that is there and holds something else is left as
    it is, and nothing is kept.

    Args:
        file: Where it is kept; None keeps nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._before = self._read()
        self._known = set(self._before.tolist())
        self._new: set[int] = set()

    def __contains__(self, fingerprint: int) -> bool:
        return fingerprint in self._known

    def add(self, fingerprint: int) -> None:
        """Remember it, from the next :meth:`save` on."""
        self._new.add(fingerprint)

    def save(self) -> None:
        """Write the file, whole or not at all; a disk that takes nothing stops no training."""
        if self._file is None or not self._new:
            return
        self._known |= self._new
        self._new = set()
        part = self._file.with_name(f'{self._file.name}.{os.getpid()}.part')
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with part.open('wb') as file:
                np.save(file, np.array(sorted(self._known), dtype=np.uint64))
            os.replace(part, self._file)
        with suppress(OSError):
            part.unlink()

    def _read(self) -> np.ndarray:
        nothing = np.empty(0, np.uint64)
        if self._file is None or not self._file.exists():
            return nothing
        try:
            content = np.load(self._file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            content = None
        if isinstance(content, np.ndarray) and content.dtype == np.uint64 and content.ndim == 1:
            return content
        self._file = None
        return nothing


def fingerprint(expected: object, *files: str | None) -> int | None:
    """Of files as they are now, and of what is expected of them; None where one is missing."""
    try:
        stats = [(file, (stat := os.stat(file)).st_size, stat.st_mtime_ns) for file in files if file]
    except OSError:
        return None
    return int.from_bytes(blake2b(repr((_RULES, expected, stats)).encode(), digest_size=8).digest(), 'little')


@dataclass(frozen=True)
class Look:
    """What a pass has come to.

    Args:
        faults: What is wrong, in the order of the data set.
        seen: Images that were looked at, now or at an earlier start.
        total: Images of the data set.
        seconds: What it took.
    """

    faults: list[Fault]
    seen: int
    total: int
    seconds: float


def look_at(
    dataset: Any, reading: Reading, seen: Seen, *, seconds: float, say: Callable[[str], None], what: str
) -> Look:
    """Look at the images, label maps and masks of a data set.

    Headers alone are read of images; label maps are decoded. Where the time does not suffice for all, those that were
    looked at lie spread over the data set, and the next call goes on with others.

    Args:
        dataset: A built data set of mmdet or mmseg.
        reading: How it is read.
        seen: What need not be looked at again; what is found to be right is added.
        seconds: The time to take, about.
        say: Is called with how far it is, now and then.
        what: The data set, in words.
    """
    start, total = time.monotonic(), len(dataset)
    order = np.random.default_rng(0).permutation(total)
    annotations = getattr(dataset, 'ann_file', None)
    annotations = annotations if isinstance(annotations, str) and os.path.isfile(annotations) else None

    def look(index: int) -> tuple[int | None, list[Fault]]:
        info: Mapping[str, Any] = dataset.get_data_info(int(index))
        files = [path if isinstance(path := info.get(key), str) else None for key in ('img_path', 'seg_map_path')]
        if reading.labels is None:
            files = files[:1]
        expected = (
            reading,
            info.get('width'),
            info.get('height'),
            info.get('reduce_zero_label'),
            info.get('label_map'),
        )
        mark = fingerprint(expected, *files, annotations)
        return mark, [] if mark in seen else sample_faults(info, reading)

    found: dict[int, list[Fault]] = {}
    done, said = 0, start - _NEXT_WORD + _FIRST_WORD
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as threads:
        for chunk in _chunks(order):
            now = time.monotonic()
            if now - start >= seconds:
                break
            if now - said >= _NEXT_WORD:
                say(f'Looking at {what}: {done} of {total} images so far, {len(found)} of them with faults.')
                said = now
            for index, (mark, faults) in zip(chunk, threads.map(look, chunk), strict=True):
                done += 1
                if faults:
                    found[int(index)] = faults
                elif mark is not None:
                    seen.add(mark)
    seen.save()
    faults = [fault for _, some in sorted(found.items()) for fault in some]
    return Look(faults, done, total, time.monotonic() - start)


def _chunks(order: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(order), _CHUNK):
        yield order[start : start + _CHUNK]
