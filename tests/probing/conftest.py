from collections.abc import Callable

import pytest
from tool_call import call_command


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """A command's exit code, and everything that it said."""
    return lambda name, *arguments: call_command(name, arguments, capsys)
