"""The commands: one module each, with ``main(argv, program)``; and the one way in which all of them fail.

A command parses its command line before it imports anything large, so that ``--help`` and a wrong word cost no time.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from ..environment import how_to_install
from ..errors import UserError

COMMANDS = {
    'train': 'train a detector or a segmenter',
    'test': 'test a trained detector or segmenter',
    'predict': 'draw what a trained detector or segmenter sees in images',
    'swap': 'a config of mmdet or mmseg with a backbone of this package',
    'pretrain': 'train a classifier',
    'evaluate': 'evaluate a classifier',
    'inherit': 'weights for an SS network out of those of the plain one',
    'search': 'a cheaper network in a trained one, by gates',
    'convert': 'turn a checkpoint of one layout into another',
    'export': 'write a network as ONNX',
    'benchmark': 'time backbones and detectors against others',
    'check-device': 'whether a GPU computes what the CPU does',
    'growth': 'time and memory of every stage against the image size',
    'plot-benchmark': 'draw what benchmark measured',
    'probe': 'report what the weights of a DFC network learnt',
    'derive-settings': 'settings for every block out of a probe',
    'complexity': 'multiply-adds and parameters',
    'show-settings': 'the setting of every block, and what it costs',
    'picture': 'draw predictions beside the truth',
    'doctor': 'whether everything works, and what to do where it does not',
    'make-shapes': 'draw the data set of the demos',
}


_NOISE = 'pkg_resources is deprecated'


def run(name: str, argv: Sequence[str], program: str = '') -> int:
    """Run a command and return its exit code: 2 after a message on stderr for whatever is the user's to fix.

    Args:
        name: One of COMMANDS.
        argv: The arguments after it.
        program: What the user called, for usage and messages; nothing for ``ss-backbones NAME``.
    """
    program = program or f'ss-backbones {name}'
    # mmengine and its kin say it a dozen times, and there is nothing that a user can do about it
    warnings.filterwarnings('ignore', _NOISE)
    os.environ.setdefault('PYTHONWARNINGS', f'ignore:{_NOISE}:UserWarning')  # in the processes that are started too
    try:
        code = import_module(f'.{name.replace("-", "_")}', __name__).main(list(argv), program) or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        sys.stderr.write(f'{program}: {error}\n')  # in one piece, as several processes may say it at once
        return 2
    except ModuleNotFoundError as error:
        if (error.name or '').partition('.')[0] == 'ss_backbones':  # a fault of this package's own
            raise
        sys.stderr.write(f'{program}: {error}. {how_to_install(command=(name, *argv))}\n')
        return 2
    except BrokenPipeError:
        return _reader_is_gone()
    except KeyboardInterrupt as stop:
        sys.stderr.write(f'{program}: stopped. {stop}'.rstrip() + '\n')
        return 130


def main(argv: Sequence[str] | None = None) -> int:
    """``ss-backbones COMMAND ...`` and ``python -m ss_backbones COMMAND ...``; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, COMMANDS))
    usage = '\n'.join(
        [
            'usage: ss-backbones COMMAND [arguments]; --help after a command tells its arguments\n',
            *(f'  {name:{width}}  {what}' for name, what in COMMANDS.items()),
        ]
    )
    if not words or words[0] in ('-h', '--help'):
        try:
            print(usage, flush=True)
        except BrokenPipeError:
            return _reader_is_gone()
        return 0 if words else 2
    name = words[0].replace('_', '-')
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        advice = f'; perhaps {near[0]}' if near else ''
        sys.stderr.write(f'ss-backbones: there is no command {words[0]}{advice}.\n{usage}\n')
        return 2
    return run(name, words[1:])


def _reader_is_gone() -> int:
    """Who reads what is printed, such as head, has seen enough: that is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
