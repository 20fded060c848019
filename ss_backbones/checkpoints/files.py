"""Reading checkpoint files safely, with words for those that cannot be read."""

import hashlib
import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import torch

from ..errors import CheckpointError
from ..layers.mlp import ALL_ACTIVATIONS
from .activations import with_activations
from .integrity import check_bytes

MapLocation = str | torch.device | Callable[..., Any] | None  # as torch.load has it
_LONGEST_HEADER = 100_000_000  # bytes, as safetensors has it


def read_checkpoint(source: str, map_location: MapLocation = 'cpu') -> Mapping[str, object]:
    """What a checkpoint holds, read without running anything that is in it.

    Args:
        source: A file of any name (safetensors, or what torch.save wrote; the content tells), or its http(s) address.
            Downloads are kept in torch's hub folder.
        map_location: Where the tensors of torch.save's files go.

    Raises:
        CheckpointError: It is missing, a directory, empty, damaged as far as its format tells (see
            :mod:`.integrity`), or no checkpoint; the text names it.
    """
    if not source.strip():
        raise CheckpointError('The checkpoint is an empty text. Give the path of a checkpoint file.')
    path = _download(source) if '://' in source else Path(source)
    if path.is_dir():
        inside = ', '.join(sorted(p.name for p in path.glob('*.pth'))[:3])
        raise CheckpointError(f'{source} is a directory. Give a checkpoint file{f" in it: {inside}" * bool(inside)}.')
    if not path.exists():
        raise CheckpointError(f'{source} does not exist. Give the path of a checkpoint file.')
    if path.stat().st_size == 0:
        raise CheckpointError(f'{source} is empty (0 bytes). Was it written or copied to the end?')
    try:
        check_bytes(path)
        checkpoint = _load(path, map_location)
    except PermissionError as error:
        raise CheckpointError(f'{source} may not be read: {error.strerror}.') from error
    except UnpicklingError as error:
        raise CheckpointError(
            f'{source} is no checkpoint, is damaged, or holds objects that are not safe to load ({reason(error)}). '
            'Give a file with named tensors, such as a state dict.'
        ) from error
    except Exception as error:  # damaged files raise a dozen kinds; the message must name the file whichever it is
        raise CheckpointError(
            f'{source} cannot be read as a checkpoint ({reason(error)}). Is it truncated or damaged? Its '
            f'size is {path.stat().st_size} bytes; compare with the original.'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f'{source} holds a {type(checkpoint).__name__}, not a checkpoint with named tensors.')
    return checkpoint


def _load(path: Path, map_location: MapLocation) -> object:
    if is_safetensors(path):
        from safetensors import safe_open  # only those who use the format need it

        with safe_open(path, 'pt') as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            known = (file.metadata() or {}).get(ALL_ACTIVATIONS)  # as write_safetensors notes them
        return with_activations(tensors, json.loads(known)) if known else tensors
    # opened, as newer versions of torch go by the ending of a name
    with _namespaces_allowed(), path.open('rb') as file:
        return torch.load(file, map_location=map_location, weights_only=True)


def is_safetensors(path: Path) -> bool:
    """Whether a file begins with the length of a header in JSON, and that header."""
    with path.open('rb') as file:
        start = file.read(9)
    return start[8:] == b'{' and int.from_bytes(start[:8], 'little') <= _LONGEST_HEADER


def _namespaces_allowed() -> AbstractContextManager[object]:
    """Official checkpoints of this family carry their command line as a Namespace, which is plain data."""
    if Namespace in torch.serialization.get_safe_globals():  # the context below would take a user's own entry away
        return nullcontext()
    return torch.serialization.safe_globals([Namespace])


def _download(address: str) -> Path:
    if not address.startswith(('http://', 'https://')):
        raise CheckpointError(
            f'{address} is neither a file nor an http(s) address. Copy it to a file and give its path.'
        )
    name = Path(urlparse(address).path).name or 'checkpoint.pth'
    # Many checkpoints share a name, so the address is part of the kept file's.
    path = Path(torch.hub.get_dir()) / 'checkpoints' / f'{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}'
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path), progress=False)
        except OSError as error:  # urllib's errors are OSErrors
            raise CheckpointError(
                f'{address} cannot be downloaded ({reason(error)}). Copy it to this machine and give the path.'
            ) from error
    return path


def reason(error: Exception) -> str:
    """The line of torch's long texts that says what is wrong, without its advice to switch the check off."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.split('Unsupported')[1] for line in lines if 'Unsupported' in line]
    if named:
        return f'unsupported{named[0]}'[:200].rstrip('. ')
    first = lines[0] if lines and '\x1b' not in lines[0] else type(error).__name__
    return first[:200].rstrip('. ')
