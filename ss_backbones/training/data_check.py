"""Looks at the data of a run before it begins, and guards them while it is read."""

import os.path as osp
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.registry import DATASETS
from torch import nn

from ..data_faults import (
    BadDataError,
    Guard,
    Seen,
    coco_faults,
    describe,
    fingerprint,
    guard,
    is_local,
    look_at,
)
from ..errors import UsageError

_FILE = '.data_check.npy'
_SKIP = "To leave such images out of the training: --on-bad-data skip (in a config on_bad_data='skip')."


def dataset_configs(part: object, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What reads files in a config, with its key: data sets, out of wrappers such as ConcatDataset; or metrics."""
    if isinstance(part, list | tuple):
        for index, inner in enumerate(part):
            yield from dataset_configs(inner, f'{key}.{index}')
    elif isinstance(part, Mapping):
        wrapped = [name for name in ('dataset', 'datasets') if name in part]
        for name in wrapped:
            yield from dataset_configs(part[name], f'{key}.{name}')
        if not wrapped:
            yield key, part


@dataclass
class DataCheck:
    """What a config says of bad data, and what is done about them.

    Args:
        skip: ``on_bad_data='skip'``: what cannot be used is left out of the training. 'stop', the default, ends it.
        seconds: ``data_check=dict(seconds=60)``: the time that the pass over a data set may take; 0 makes none.
        file: Where is kept what need not be looked at again; ``data_check=dict(cache=DIR)``, by default the work dir;
            None keeps nothing.
        say: Is called with what the user is to see.
        warn: Is called with warnings.
    """

    skip: bool
    seconds: float
    file: Path | None
    say: Callable[[str], None]
    warn: Callable[[str], None]

    @classmethod
    def of(
        cls, config: Mapping[str, Any], work_dir: str, say: Callable[[str], None], warn: Callable[[str], None]
    ) -> 'DataCheck':
        """Read the config.

        Raises:
            UsageError: Something in it is not possible.
        """
        action, options = config.get('on_bad_data', 'stop'), dict(config.get('data_check') or {})
        if action not in ('stop', 'skip'):
            raise UsageError(f"on_bad_data={action!r} is not possible; take 'stop' or 'skip'.")
        seconds, cache = options.pop('seconds', 60), options.pop('cache', None)
        if options:
            raise UsageError(f'data_check has no {", ".join(map(repr, options))}; it has seconds and cache.')
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
            raise UsageError(f'data_check.seconds={seconds!r} is the time that a pass may take, 0 for none.')
        return cls(action == 'skip', seconds, Path(cache or work_dir) / _FILE, say, warn)

    def before_building(self, dataset: object, what: str) -> None:
        """Look at the annotation files of a data set that is not built yet.

        Raises:
            BadDataError: They cannot be used.
        """
        if self.seconds == 0:
            return
        for _, part in dataset_configs(dataset, ''):
            classes = _coco_classes(part)
            if classes is None or '://' in str(part.get('ann_file')):
                continue
            file = osp.join(part.get('data_root') or '', part['ann_file'])
            _on_main_process(lambda file=file, classes=classes: self._coco_file(file, classes, what))

    def after_building(self, dataset: object, what: str, model: nn.Module | None, look: bool) -> None:
        """Guard a data set, and look at its files first if ``look``.

        Raises:
            BadDataError: They cannot be used.
        """
        for guarded in guard(dataset, model, self.skip):
            if look and self.seconds:
                _on_main_process(lambda guarded=guarded: self._files(guarded, what))

    def _coco_file(self, file: str, classes: tuple[str, ...], what: str) -> str | None:
        seen = Seen(self.file)
        mark = fingerprint(classes, file)
        if mark is None or mark in seen:
            return None
        if osp.getsize(file) > 2**26:  # seconds to parse
            self.say(f'Looking at {file}, {osp.getsize(file) >> 20} MiB; once, if nothing is wrong with it.')
        faults = coco_faults(file, classes)
        if not faults:
            seen.add(mark)
            seen.save()
            return None
        return describe(faults, what)

    def _files(self, guarded: Guard, what: str) -> str | None:
        dataset, reading = guarded.dataset, guarded.reading
        if reading is None:
            return None
        look = look_at(dataset, reading, Seen(self.file), seconds=self.seconds, say=self.say, what=what)
        if look.seen < look.total:
            self.say(
                f'{look.seen} of {look.total} images of {what} were looked at in {look.seconds:.0f} s; the others are '
                'when they are read, or at the next start. For all of them: --cfg-options data_check.seconds=100000'
            )
        if not look.faults:
            return None
        text = describe(look.faults, what)
        if guarded.skip:
            self.warn(f'{text}\nThese images are left out.')
            return None
        return text if dataset.test_mode else f'{text}\n{_SKIP}'


def _coco_classes(part: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The classes of a data set that reads its file as mmdet's CocoDataset does; None for others."""
    kind = part.get('type')
    if not part.get('ann_file') or not is_local(part.get('backend_args')):
        return None
    with DATASETS.switch_scope_and_registry(part.get('_scope_')) as registry:
        cls = registry.get(kind) if isinstance(kind, str) else kind
    for name in ('load_data_list', 'parse_data_info'):
        if getattr(getattr(cls, name, None), '__module__', '') != 'mmdet.datasets.coco':
            return None
    classes = (part.get('metainfo') or {}).get('classes', getattr(cls, 'METAINFO', {}).get('classes', ()))
    return tuple(classes) if isinstance(classes, list | tuple) else ()  # it may be the name of a file


def _on_main_process(check: Callable[[], str | None]) -> None:
    """Check in one process, and stop all of them.

    Raises:
        BadDataError: With what the check says.
    """
    said = [check() if is_main_process() else None]
    broadcast_object_list(said)
    if said[0]:
        raise BadDataError(said[0])
