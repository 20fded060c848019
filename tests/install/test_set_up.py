"""`make setup`: what it says before it starts, and the compiler that it gives to mmcv's build; with stand-ins."""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CXX = ROOT / 'environment/cxx.py'

# A compiler that notes its words, writes what it is told to, and fails where the variable FAILS names one of its words.
COMPILER = """#!/bin/sh
echo "$@" >> calls
for word; do
    test "$word" = "$FAILS" && exit 1
    test "$last" = -o && echo "$@" > "$word"
    last=$word
done
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def set_up() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / 'environment/set_up.py'))


def test_nothing_is_said_where_nothing_is_missing(set_up: dict[str, Any], tmp_path: Path) -> None:
    if shutil.which('c++') is None:
        pytest.skip('there is no C++ compiler')
    assert set_up['check_python']() + set_up['check_compiler']() + set_up['check_disk']([tmp_path / 'new'], 0) == []


def test_all_that_is_missing_is_said_at_once(
    set_up: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr(sys, 'version_info', (3, 13, 0))
    monkeypatch.setattr('sysconfig.get_path', lambda name: str(tmp_path))
    names = set_up['main'].__globals__
    monkeypatch.setitem(names, 'ROOT', tmp_path)
    monkeypatch.setitem(names, 'GIGABYTES', 1e9)
    monkeypatch.setitem(names, 'sync', lambda *arguments: pytest.fail('it started'))
    assert set_up['main']() == 1
    said = capsys.readouterr().err
    for words in (
        'The set-up cannot start:',
        f'- Python 3.13 ({sys.executable}) is none of',
        f'there is no {tmp_path}/Python.h',
        'There is no C++ compiler',
        f'- {tmp_path} has ',
        'about 1000000000 GB are needed',
    ):
        assert words in said
    assert not list(tmp_path.iterdir())


def test_a_compiler_that_does_not_work_is_quoted(
    set_up: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = script(tmp_path / 'broken', '#!/bin/sh\necho no standard library >&2\nexit 1\n')
    monkeypatch.setenv('CXX', str(broken))
    (problem,) = set_up['check_compiler']()
    assert str(broken) in problem and 'It says: no standard library' in problem


@pytest.mark.parametrize('stack', ['', 'onedl', 'oldest'])
def test_every_stack_has_an_environment_of_its_own(
    set_up: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str
) -> None:
    """A folder with a project is what uv is given, and .venv-STACK where it puts it."""
    calls = []
    environment = tmp_path / (f'.venv-{stack}' if stack else '.venv')
    environment.mkdir()
    names = set_up['main'].__globals__
    monkeypatch.setitem(names, 'ROOT', tmp_path)
    monkeypatch.setitem(names, 'find_uv', lambda: 'uv')
    for check in ('check_python', 'check_compiler'):
        monkeypatch.setitem(names, check, list)
    monkeypatch.setattr(subprocess, 'call', lambda words, env, **_: calls.append((words, env)) or 0)
    (environment / '.set-up').touch()
    assert set_up['main'](*[stack] * bool(stack)) == 0
    ((words, env),) = calls
    assert words[:4] == ['uv', 'sync', '--python', sys.executable]
    assert env['UV_PROJECT_ENVIRONMENT'] == str(environment)
    if stack:
        assert words[4] == '--project' and (Path(words[5]) / 'pyproject.toml').is_file()
        assert Path(words[5]).name == stack
    else:
        assert words[4:] == ['--extra', 'openmmlab', '--extra', 'dev']


def test_a_stack_that_there_is_not_is_told(
    set_up: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(set_up['main'].__globals__, 'sync', lambda *arguments: pytest.fail('it started'))
    assert set_up['main']('newest') == 1
    assert '- There is no stack newest; there are oldest, onedl.' in capsys.readouterr().err


def make(folder: Path, *words: str, goal: str = 'setup') -> subprocess.CompletedProcess[str]:
    """A dry run of the set-up where nothing but the programs in a folder are found."""
    environment = {'PATH': str(folder), 'PYENV_ROOT': str(folder), 'HOME': str(folder)}
    command = [shutil.which('make'), '--always-make', '--dry-run', goal, 'SHELL=/bin/sh', *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which('make') is None, reason='there is no make')
def test_make_finds_a_python_that_runs_and_fits(tmp_path: Path) -> None:
    script(tmp_path / 'python3.11', '#!/bin/sh\nexit 127\n')  # a shim of pyenv for a version that is not switched on
    script(tmp_path / 'python3', '#!/bin/sh\nexit 1\n')  # one that does not fit
    nothing = make(tmp_path)
    assert nothing.returncode and 'There is no Python 3.10, 3.11 or 3.12 here.' in nothing.stderr
    (tmp_path / 'python3.12').symlink_to(sys.executable)
    found = make(tmp_path)
    assert found.returncode == 0 and found.stdout.splitlines()[0] == 'python3.12 environment/set_up.py'
    assert make(tmp_path, 'PYTHON=mine').stdout.splitlines()[0] == 'mine environment/set_up.py'
    onedl = make(tmp_path, 'STACK=onedl', goal='test').stdout
    assert onedl.startswith('python3.12 environment/set_up.py onedl\n') and '.venv-onedl/bin/python -m pytest' in onedl


@pytest.mark.skipif(shutil.which('make') is None, reason='there is no make')
def test_the_last_line_says_how_to_use_the_environment(tmp_path: Path) -> None:
    (tmp_path / 'python3.12').symlink_to(sys.executable)
    activate = 'To use the environment: source .venv/bin/activate'
    assert activate in make(tmp_path).stdout.splitlines()[-1]
    assert activate in make(tmp_path, goal='demo').stdout.splitlines()[-1]
    assert activate not in make(tmp_path, goal='test').stdout  # it would get lost above the tests


@pytest.fixture
def compile_file(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts the compiler of the set-up as ninja does in mmcv's build, around a stand-in for the real one."""
    real = script(tmp_path / 'real', COMPILER)

    def start(name: str, fails: str = '') -> subprocess.Popen[bytes]:
        words = [
            '-MMD',
            '-MF',
            f'{name}.d',
            '-O3',
            '-c',
            '-c',
            f'/src/mmcv/{name}.cpp',
            '-o',
            f'{name}.o',
            '-std=c++17',
        ]
        variables = {'REAL_CXX': str(real), 'PRECOMPILED': str(tmp_path), 'FAILS': fails}
        return subprocess.Popen([sys.executable, CXX, *words], cwd=tmp_path, env=os.environ | variables)

    return start


def test_the_headers_are_read_once(
    compile_file: Callable[..., subprocess.Popen[bytes]], set_up: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / 'build.ninja').write_text('rule compile\nbuild a.o: compile\nbuild b.o: compile\nbuild c.o: compile\n')
    assert set_up['progress'](tmp_path) == ''
    assert [process.wait() for process in [compile_file('a'), compile_file('b')]] == [0, 0]
    header, *files = (tmp_path / 'calls').read_text().splitlines()
    assert header == f'-O3 -std=c++17 -g0 -x c++-header {tmp_path}/draft.h -o {tmp_path}/shared.h.gch'
    assert sorted(files) == [
        f'-MMD -MF {name}.d -O3 -c -c /src/mmcv/{name}.cpp -o {name}.o -std=c++17 -g0 -include {tmp_path}/shared.h'
        for name in 'ab'
    ]
    assert set_up['progress'](tmp_path) == ': mmcv compiles, 2 of 3 files'


@pytest.mark.parametrize('fails', ['c++-header', '-include'])
def test_files_compile_without_a_precompiled_header_too(
    compile_file: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, fails: str
) -> None:
    assert compile_file('a', fails).wait() == 0
    assert (tmp_path / 'a.o').exists()
    assert (tmp_path / 'shared.h.gch').exists() == (fails == '-include')


def test_everything_else_is_passed_on(compile_file: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    variables = {'REAL_CXX': str(tmp_path / 'real'), 'PRECOMPILED': str(tmp_path)}
    compile_file('a', 'a.o').wait()  # a file that cannot be compiled stays an error
    assert compile_file('a', 'a.o').wait() == 1
    (tmp_path / 'calls').unlink()
    link = [sys.executable, CXX, '-shared', 'a.o', '-o', 'ext.so']
    assert subprocess.call(link, cwd=tmp_path, env=os.environ | variables) == 0
    assert (tmp_path / 'calls').read_text() == '-shared a.o -o ext.so\n'
