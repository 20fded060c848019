"""The logic of tools/probe.py."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from ..checkpoints.files import CheckpointError
from ..output_files import check_new, new_file
from ..probing.errors import ProbeError

_NEEDED = ('matplotlib', 'scipy')


def main(argv: Sequence[str] | None = None) -> None:
    """Probe as the command line says, and print what was found.

    Raises:
        SystemExit: With code 2 after a message on stderr.
    """
    arguments = _parser().parse_args(argv)
    try:
        _probe(arguments)
    except (CheckpointError, ProbeError) as error:
        print(f'tools/probe.py: {error}', file=sys.stderr)
        raise SystemExit(2) from None


def _probe(arguments: argparse.Namespace) -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ProbeError(f'{", ".join(missing)} cannot be found. Install it: pip install {" ".join(missing)}')
    from ..probing.report import REPORT, contents
    from ..probing.series import read_series

    out: Path = arguments.out
    _check_folder(out)
    series = read_series(arguments.checkpoint, arguments.earlier)
    files, observed = contents(series.record, series.kinds, series.weights, series.has_conv)
    _write_folder(out, files)
    count = len(series.kinds)
    for question, text in observed.items():
        print(f'{question} {text}')
    print(f'{out / REPORT}: {len(series.record.last.blocks)} blocks, {count} checkpoint{"s" * (count > 1)}')


def _check_folder(out: Path) -> None:
    """Whether a new folder can be written there.

    Raises:
        ProbeError: There is a folder with something in it.
        CheckpointError: There is something else, or nothing can be written.
    """
    if not out.is_dir():
        check_new(out)
    elif any(out.iterdir()):
        raise ProbeError(f'{out} is a folder with something in it, and nothing is written over. Give a new folder.')
    else:
        check_new(out / 'report.html')


def _write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write all files to the folder, or leave it as it was.

    Raises:
        CheckpointError: It cannot be written.
    """
    made, written = not out.exists(), []
    try:
        if made:
            out.mkdir()
        for name, content in files.items():
            with new_file(out / name) as file:
                file.write(content)
            written.append(out / name)
    except BaseException:  # Ctrl-C too
        with suppress(OSError):
            for file in written:
                file.unlink()
            if made:
                out.rmdir()
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tools/probe.py',
        description='Read what the grouped linear layers of a trained DFC network learnt, as a report and as numbers.',
        epilog='The folder gets report.html (open it in a browser), probe.json and the pictures.',
    )
    parser.add_argument(
        'checkpoint',
        metavar='CHECKPOINT',
        help='a file of any layout, averaged weights preferred; or a folder with epoch_*.pth, the last of which is the '
        'trained network',
    )
    parser.add_argument('out', metavar='OUT', type=Path, help='the new folder')
    parser.add_argument(
        '--earlier', nargs='+', default=[], metavar='FILE', help='earlier checkpoints of the same training'
    )
    return parser
