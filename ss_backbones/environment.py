"""What to do where a package is missing: install it, or take the environment that stands ready beside this package."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

# what pip is to install, by the import name; the versions that everything is tried with
TESTED = {
    'mmengine': 'mmengine==0.10.7',
    'mmcv': 'mmcv==2.1.0',
    'mmdet': 'mmdet==3.3.0',
    'mmseg': 'mmsegmentation==1.2.2',
}
# the oldest versions that the package promises to work with, as in pyproject.toml
OLDEST = {'torch': '2.6', 'timm': '1.0.16'}
_ROOT = Path(__file__).resolve().parents[1]


def how_to_install(
    what: str = 'it',
    command: Sequence[str] = (),
    how: str = 'as the documentation says, most simply with: make setup',
) -> str:
    """What to do, in a sentence for the end of a message.

    Args:
        what: What is missing.
        command: The words after ``ss-backbones`` that have been called, if they are known.
        how: How it is installed where there is no such environment.
    """
    environment = _ROOT / '.venv'
    program = environment / 'bin/ss-backbones'
    # .venv, or one of other versions beside it
    if Path(sys.prefix).resolve().parent == _ROOT or not program.exists():
        return f'Install {what} {how}'
    if Path.cwd() == _ROOT:
        program = program.relative_to(_ROOT)
    words = [os.fspath(program), *(command or ('COMMAND',))]
    line = shlex.join(words) + ('' if command else ' ...')
    return f'That is {sys.executable}; the environment that make setup made has what is needed. Take: {line}'
