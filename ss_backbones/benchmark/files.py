"""Files that are to be written."""

from pathlib import Path


def check_new(file: Path) -> None:
    """Find out whether a new file can be written, before anything is measured or drawn.

    Raises:
        ValueError: It is there already, or its folder is not.
    """
    if file.is_dir():
        raise ValueError(f'{file} is a folder; give the name of a new file, such as {file / "benchmark.csv"}')
    if file.exists() or file.is_symlink():
        raise ValueError(f'{file} exists, and is not overwritten; take another name')
    if not file.parent.is_dir():
        raise ValueError(f'{file}: there is no folder {file.parent}; make it first')
    try:  # the permissions alone do not tell, on a file system that is read-only or full
        file.touch()
        file.unlink()
    except OSError as error:
        raise ValueError(f'{file} cannot be written: {error.strerror}') from error
