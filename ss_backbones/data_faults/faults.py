"""A fault, and many of them in words."""

from collections.abc import Sequence
from dataclasses import dataclass

_MOST_NAMED = 10


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with data.

    Args:
        where: The file, and the place in it.
        problem: What is wrong there, after ``where`` and a colon.
        cure: What to do, as a sentence.
    """

    where: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f'{self.where}: {self.problem}. {self.cure}'


def describe(faults: Sequence[Fault], what: str) -> str:
    """The first ten in lines, how many more there are, and what is to be done about each kind.

    Args:
        faults: At least one.
        what: Whose they are, such as 'the training data'.
    """
    if len(faults) == 1:
        return f'{what}: {faults[0]}'
    named = [f'  {fault.where}: {fault.problem}' for fault in faults[:_MOST_NAMED]]
    more = [f'  and {len(faults) - _MOST_NAMED} more'] if len(faults) > _MOST_NAMED else []
    cures = dict.fromkeys(fault.cure for fault in faults)
    return '\n'.join([f'{what}: {len(faults)} faults', *named, *more, *cures])
