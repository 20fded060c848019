from collections.abc import Callable

import pytest

from ss_backbones import commands


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """A command's exit code, and everything that it said."""

    def run(name: str, *arguments: object) -> tuple[int, str]:
        code = commands.run(name, [str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run
