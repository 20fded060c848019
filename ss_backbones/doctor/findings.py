"""One check and what it finds; a check that fails stops no other."""

import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from enum import Enum
from io import StringIO

from ..errors import UserError
from .troubles import cure_of


class Level(Enum):
    """How a check ended."""

    OK = 'ok'
    WARNING = 'warning'
    FAILED = 'failed'


class Problem(Exception):
    """What a check raises where it knows what is wrong.

    Args:
        text: What was found.
        cure: What to do.
        level: A warning is something that one can work with.
    """

    def __init__(self, text: str, cure: str = '', level: Level = Level.FAILED) -> None:
        super().__init__(text)
        self.cure, self.level = cure, level


@dataclass(frozen=True)
class Check:
    """Something to be looked at.

    Args:
        name: A word or two.
        look: Returns what is there, in a line; raises whatever is wrong.
    """

    name: str
    look: Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """What a check has come to.

    Args:
        name: Of the check.
        level: How it ended.
        text: What is there, or what is wrong.
        cure: What to do about it; '' where nothing is known, or nothing is to be done.
    """

    name: str
    level: Level
    text: str
    cure: str = ''


def examine(check: Check) -> Finding:
    """Make a check; whatever it raises is what it finds."""
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # libraries tell stories as they load
            warnings.simplefilter('ignore')
            return Finding(check.name, Level.OK, check.look())
    except Problem as problem:
        return Finding(check.name, problem.level, str(problem), problem.cure)
    except UserError as error:  # which says what to do
        return Finding(check.name, Level.FAILED, str(error))
    except (Exception, SystemExit) as error:  # a broken package may raise whatever it likes when it is imported
        text = ' '.join(str(error).split())
        return Finding(check.name, Level.FAILED, f'{type(error).__name__}: {text}', cure_of(text))
