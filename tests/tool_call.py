"""A command or tool as a user calls it, in this process."""

import sys
from collections.abc import Callable, Sequence

import pytest

from ss_backbones import commands


def call_command(name: str, arguments: Sequence[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command, and everything that was said."""
    return outcome(lambda: commands.run(name, list(map(str, arguments))), capsys)


def call_tool(
    main: Callable[[], int | None],
    argv: Sequence[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[int, str]:
    """The exit code, and everything that was said; the tool's name comes first in ``argv``."""
    monkeypatch.setattr(sys, 'argv', list(map(str, argv)))
    return outcome(main, capsys)


def outcome(main: Callable[[], int | None], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a tool's main, and everything that was said."""
    try:
        code = main() or 0
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return code, said.out + said.err
