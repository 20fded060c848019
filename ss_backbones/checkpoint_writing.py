"""Writing new checkpoint files: whole or not at all, and never over another."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

import torch
from torch import Tensor

from .checkpoint_files import CheckpointError, reason

SAFETENSORS = '.safetensors'


def check_new(out: Path) -> None:
    """Whether a file can be written there without harm.

    Raises:
        CheckpointError: Something is there already, its folder is not, or it cannot be written to.
    """
    if os.path.lexists(out):
        raise CheckpointError(f'{out} exists already and is never written over. Give a new name, or move it away.')
    if not out.parent.is_dir():
        raise CheckpointError(
            f'{out} cannot be written: there is no folder {out.parent}. Make it first, or mend the path.'
        )
    try:  # the permissions alone do not tell, on a file system that is read-only
        with NamedTemporaryFile(dir=out.parent, prefix=f'.{out.name}.', suffix='.part'):
            pass
    except OSError as error:
        raise CheckpointError(f'{out} cannot be written ({error.strerror}).') from error


def write_checkpoint(content: Mapping[str, object], out: Path) -> None:
    """torch.save to a new file.

    Raises:
        CheckpointError: See :func:`check_new`; or writing fails, and then no file is left.
    """
    with new_file(out) as file:
        torch.save(content, file)


def write_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], out: Path) -> None:
    """Contiguous tensors that share no memory to a new .safetensors file.

    Raises:
        CheckpointError: See :func:`check_new`; or writing fails, and then no file is left.
    """
    from safetensors.torch import save  # only those who use the format need it

    with new_file(out) as file:
        file.write(save(dict(tensors), dict(metadata)))


@contextmanager
def new_file(out: Path) -> Iterator[BinaryIO]:
    """A file under another name, which gets its own when everything is in it."""
    check_new(out)
    part = out.with_name(f'.{out.name}.{os.getpid()}.part')
    try:
        with part.open('wb') as file:
            yield file
        check_new(out)  # it may have come into being meanwhile, and a rename would replace it
        part.rename(out)
    except (OSError, RuntimeError) as error:  # torch's writer makes a RuntimeError of a full disk
        raise CheckpointError(f'{out} cannot be written ({reason(error)}).') from error
    finally:
        with suppress(OSError):  # it is gone, or never was
            part.unlink()
