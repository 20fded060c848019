"""``probe``: what the grouped linear layers of a trained DFC network learnt, as a report and as numbers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import OutputError
from ..output_files import check_new, new_file
from .parsing import Parser


def main(argv: Sequence[str], program: str) -> None:
    """Probe as the command line says, and print what was found.

    Raises:
        UserError: The command line is wrong, a checkpoint cannot be probed, or the folder cannot be written.
    """
    parser = Parser(
        program,
        'Read what the grouped linear layers of a trained DFC network learnt, as a report and as numbers.',
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
    arguments = parser.parse_args(argv)
    from ..probing import report
    from ..probing.reading import read_series

    out: Path = arguments.out
    _check_folder(out)
    series = read_series(arguments.checkpoint, arguments.earlier)
    files, observed = report.contents(series)
    _write_folder(out, files)
    count = len(series.kinds)
    for question, text in observed.items():
        print(f'{question} {text}')
    print(f'{out / report.REPORT}: {len(series.record.last.blocks)} blocks, {count} checkpoint{"s" * (count > 1)}')


def _check_folder(out: Path) -> None:
    """Whether a new folder can be written there; an empty one may be there.

    Raises:
        OutputError: Something is there, or nothing can be written.
    """
    if not out.is_dir():
        check_new(out)
    elif any(out.iterdir()):
        raise OutputError(f'{out} is a folder with something in it, and nothing is written over. Give a new folder.')
    else:
        check_new(out / 'report.html')


def _write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write all files to the folder, or leave it as it was.

    Raises:
        OutputError: It cannot be written.
    """
    undo: list[Callable[[], None]] = []
    try:
        if not out.exists():
            out.mkdir()
            undo.append(out.rmdir)
        for name, content in files.items():
            with new_file(out / name) as file:
                file.write(content)
            undo.append((out / name).unlink)
    except BaseException:  # Ctrl-C too
        for step in reversed(undo):
            with suppress(OSError):
                step()
        raise
