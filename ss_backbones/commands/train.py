"""Trains a detector or a segmenter: checks the arguments and runs the train.py of mmdet or mmsegmentation."""

from collections.abc import Sequence

from .library_script import run_script


def main(argv: Sequence[str], program: str) -> None:
    """Train as the command line says; whatever is not wrong at first sight is the library's own script.

    Raises:
        UserError: What the user can fix.
    """
    run_script('train', argv, program)
