"""What users are told when something cannot be: one family of errors, caught in one place by the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checkpoints.matching import LoadReport


class UserError(Exception):
    """Something that the user can fix; the text says what was given, what was expected and what to do."""


class UsageError(UserError):
    """A command line, a config or an argument cannot work."""


class OutputError(UserError):
    """A file cannot be written, or something is there already."""


class DataError(UserError):
    """Data cannot be used."""


class TrainingError(UserError):
    """A training cannot go on."""


class ExportError(UserError):
    """There will be no ONNX file."""


class ProbeError(UserError, ValueError):
    """A checkpoint cannot be probed, or no settings can be derived from a probe."""


class CheckpointError(UserError, ValueError):
    """A checkpoint cannot be read, or does not fit the model."""


class MismatchError(CheckpointError):
    """A checkpoint is of another network than the model.

    Args:
        report: What matched and what did not.
        problem: What shows that it is another network.
        advice: What to do; a command without the option that it names leaves it out.

    Attributes:
        report: As given.
        problem: As given.
    """

    def __init__(self, report: LoadReport, problem: str, advice: str = '') -> None:
        super().__init__(
            f'{report}\nNothing was loaded: {problem}. Is the checkpoint of the same arch, settings and channels?'
            + (f' {advice}' if advice else '')
        )
        self.report, self.problem = report, problem
