"""A command or tool as a user calls it, in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from new_process import run_script

from ss_backbones import commands

ROOT = Path(__file__).resolve().parents[1]


def call_command(name: str, arguments: Sequence[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command, and everything that was said."""
    return outcome(lambda: commands.run(name, list(map(str, arguments))), capsys)


def run_tool(name: str, *arguments: object) -> tuple[int, str]:
    """The same of tools/NAME.py in a process of its own."""
    done = run_script(ROOT / f'tools/{name}.py', arguments, cwd=Path.cwd())
    return done.returncode, done.stdout


def outcome(main: Callable[[], int | None], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a tool's main, and everything that was said."""
    try:
        code = main() or 0
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return code, said.out + said.err
