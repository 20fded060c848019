"""Writing new files: whole or not at all, and never over another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

from .errors import OutputError


def check_new(out: Path) -> None:
    """Whether a file can be written there without harm.

    Raises:
        OutputError: Something is there already, its folder is not, or it cannot be written to.
    """
    if os.path.isdir(out):  # unlike Path.is_dir, no error for a name that is too long
        raise OutputError(f'{out} is a folder. Give the name of a new file, such as {out / "new"}{out.suffix}')
    if os.path.lexists(out):
        raise OutputError(f'{out} exists already and is never written over. Give a new name, or move it away.')
    if not os.path.isdir(out.parent):
        raise OutputError(f'{out} cannot be written: there is no folder {out.parent}. Make it first, or fix the path.')
    try:  # the permissions alone do not tell, on a file system that is read-only
        with NamedTemporaryFile(dir=out.parent, prefix=f'.{out.name}.', suffix='.part'):
            pass
    except OSError as error:
        raise OutputError(f'{out} cannot be written ({error.strerror}).') from error


@contextmanager
def new_file(out: Path) -> Iterator[BinaryIO]:
    """A file under another name, which gets its own when everything is in it.

    Raises:
        OutputError: See :func:`check_new`; or writing fails, and then no file is left.
    """
    check_new(out)
    part = out.with_name(f'.{out.name}.{os.getpid()}.part')
    try:
        with part.open('wb') as file:
            yield file
        check_new(out)  # it may have come into being meanwhile, and a rename would replace it
        part.rename(out)
    except (OSError, RuntimeError) as error:  # torch's writer makes a RuntimeError of a full disk
        raise OutputError(f'{out} cannot be written ({error}).') from error
    finally:
        with suppress(OSError):  # it is gone, or never was
            part.unlink()
