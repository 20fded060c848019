"""The ways to start a command, what it imports before it has read its arguments, and the one way in which it fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tool_call import call_command

from ss_backbones import commands, environment, errors

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {'torch', 'timm', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'matplotlib', 'scipy'}
# what pip makes of the entry point ss_backbones.commands:main
CONSOLE_SCRIPT = (
    'import sys\nfrom ss_backbones.commands import main\nif __name__ == "__main__":\n    sys.exit(main())\n'
)


def python(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The packages whose import -X importtime tells of."""
    return {name.partition('.')[0] for name in re.findall(r'^import time:.*\| +(\S+)$', done.stderr, re.MULTILINE)}


@pytest.fixture(params=['module', 'tool', 'console script'])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    """The words that start a command, by its name."""
    (tmp_path / 'ss-backbones').write_text(CONSOLE_SCRIPT)
    return {
        'module': lambda name: ['-m', 'ss_backbones', name],
        'tool': lambda name: [ROOT / f'tools/{name.replace("-", "_")}.py'],
        'console script': lambda name: [tmp_path / 'ss-backbones', name],
    }[request.param]


@pytest.mark.parametrize('name', commands.COMMANDS)
def test_help_and_wrong_arguments_import_nothing_large(name: str, start) -> None:
    done = python('-X', 'importtime', *start(name), '--help')
    assert done.returncode == 0 and 'usage: ' in done.stdout, done.stderr[-2000:]
    assert 'ss_backbones' in imported(done) and not imported(done) & HEAVY
    done = python('-X', 'importtime', *start(name), '--no-such-option')
    program = f'tools/{name.replace("-", "_")}.py' if 'tools' in str(start(name)[0]) else f'ss-backbones {name}'
    assert done.returncode == 2 and f'\n{program}: ' in done.stderr and 'Traceback' not in done.stderr
    assert not imported(done) & HEAVY


def test_the_list_of_commands_imports_nothing_large(start) -> None:
    done = python('-X', 'importtime', *start('x')[:-1], '--help') if len(start('x')) > 1 else None
    if done is None:
        pytest.skip('a tool is one command')
    assert done.returncode == 0 and not imported(done) & HEAVY
    assert all(re.search(rf'^  {name} +\w', done.stdout, re.MULTILINE) for name in commands.COMMANDS)


def test_every_tool_is_a_command() -> None:
    tools = {path.stem.replace('_', '-') for path in (ROOT / 'tools').glob('*.py')} - {'torchrun'}
    assert tools == set(commands.COMMANDS)


def test_a_command_works_however_it_is_started(start, tmp_path: Path) -> None:
    done = python(*start('complexity'), 'ss_backbones::imagenet/ss-pvtv2-b0_8xb128_in1k.py', cwd=tmp_path)
    assert done.returncode == 0 and '224 x 224: 0.422 GMACs, 3.422 M parameters' in done.stdout, done.stderr
    done = python(*start('make-shapes'), 'set', '--train', 1, '--val', 1, '--size', 64, cwd=tmp_path)
    assert done.returncode == 0 and 'set: 1 training and 1 held-out images drawn.' in done.stdout, done.stderr
    done = python(*start('make-shapes'), 'set', cwd=tmp_path)  # with other numbers
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert re.match(r'(tools/make_shapes.py|ss-backbones make-shapes): .*set', done.stderr), done.stderr


REGISTERED = "import timm; print('registered' if timm.is_model('ss_pvt_v2_b0') else 'not registered')\n"


@pytest.mark.parametrize('name', ['script.py', 'ss-backbones'])
def test_processes_that_are_spawned_have_the_models(name: str, tmp_path: Path) -> None:
    script = CONSOLE_SCRIPT.replace('sys.exit(main())', 'start()') + '\n'
    start = f"""
def child():
    import ss_backbones
    {REGISTERED}
def start():
    import multiprocessing
    process = multiprocessing.get_context('spawn').Process(target=child)
    process.start()
    process.join()

"""
    (tmp_path / name).write_text(script.replace('if __name__', start + 'if __name__'))
    done = python(tmp_path / name)
    assert done.stdout == 'registered\n', done.stderr


def test_a_package_that_imports_this_one_has_the_models(tmp_path: Path) -> None:
    """python -m imports the package before it is known what runs, just as for this package's own commands."""
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/__init__.py').write_text('import ss_backbones\n' + REGISTERED)
    (tmp_path / 'other/__main__.py').write_text(REGISTERED)
    done = python('-c', f'import sys; sys.path.insert(0, {str(tmp_path)!r}); import other')
    assert done.stdout == 'registered\n', done.stderr
    done = subprocess.run(
        [sys.executable, '-m', 'other'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == 'registered\nregistered\n', done.stderr


# ---- in this process


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command that does what it is given."""

    def run(do) -> tuple[int, str]:
        monkeypatch.setattr('ss_backbones.commands.convert.main', do)
        return call_command('convert', [], capsys)

    return run


def raises(error: BaseException):
    def main(argv: list[str], program: str) -> None:
        raise error

    return main


@pytest.mark.parametrize(
    'kind', [cls for cls in vars(errors).values() if isinstance(cls, type) and cls is not errors.MismatchError]
)
def test_what_users_can_fix_is_said_in_one_line(kind: type[errors.UserError], command) -> None:
    assert issubclass(kind, errors.UserError)
    assert command(raises(kind('This is wrong.'))) == (2, 'ss-backbones convert: This is wrong.\n')


def test_other_ends(command) -> None:
    assert command(lambda argv, program: 3) == (3, '')
    assert command(lambda argv, program: None) == (0, '')
    assert command(raises(KeyboardInterrupt())) == (130, 'ss-backbones convert: stopped.\n')
    assert command(raises(KeyboardInterrupt('Go on.'))) == (130, 'ss-backbones convert: stopped. Go on.\n')
    code, said = command(raises(ModuleNotFoundError("No module named 'mmdet'", name='mmdet')))
    assert code == 2 and said.startswith("ss-backbones convert: No module named 'mmdet'. Install it as the documentat")
    with pytest.raises(ZeroDivisionError):  # a fault of the package's own has a traceback
        command(raises(ZeroDivisionError()))
    with pytest.raises(ModuleNotFoundError):
        command(raises(ModuleNotFoundError('No module', name='ss_backbones.nothing')))


def test_the_environment_beside_is_named_where_a_package_is_missing(
    command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        return call_command('convert', ['a b.pth', '--to', 'timm'], capsys)[1]

    command(raises(ModuleNotFoundError("No module named 'torch'", name='torch')))
    monkeypatch.setattr(environment, '_ROOT', tmp_path)
    monkeypatch.chdir(tmp_path)
    install = 'Install it as the documentation says, most simply with: make setup\n'
    assert said() == f"ss-backbones convert: No module named 'torch'. {install}"  # there is none
    (tmp_path / '.venv/bin').mkdir(parents=True)
    assert said().endswith(install)  # a set-up that has not come to its end
    (tmp_path / '.venv/bin/ss-backbones').touch()
    words = "convert 'a b.pth' --to timm\n"
    assert said().endswith(f' Take: .venv/bin/ss-backbones {words}') and sys.executable in said()
    monkeypatch.chdir('/')
    assert said().endswith(f' Take: {tmp_path}/.venv/bin/ss-backbones {words}')
    for one in ('.venv', '.venv-oldest'):  # it is the one that lacks it
        monkeypatch.setattr(sys, 'prefix', str(tmp_path / one))
        assert said().endswith(install)


def test_words_that_are_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(['trian']) == 2
    said = capsys.readouterr().err
    assert said.startswith('ss-backbones: there is no command trian; perhaps train.\n') and 'usage:' in said
    assert commands.main(['qqqq']) == 2
    assert capsys.readouterr().err.startswith('ss-backbones: there is no command qqqq.\n')
    assert commands.main([]) == 2 and 'usage:' in capsys.readouterr().out
    assert commands.main(['make_shapes', '--size', 'x']) == 2
    assert "ss-backbones make-shapes: argument --size: invalid int value: 'x'" in capsys.readouterr().err


def test_layouts_of_a_conversion(capsys: pytest.CaptureFixture[str]) -> None:
    from ss_backbones.checkpoints.conversion import LAYOUTS

    said = call_command('convert', ['a.pth', 'b.pth', '--to', 'x'], capsys)[1]
    assert re.findall(r"'(\w+)'", said) == ['x', *LAYOUTS]


def test_a_reader_that_is_gone_is_no_failure() -> None:
    for words in (['--help'], ['complexity', 'ss_pvt_v2_b0', '--shape', '32', '32']):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, '-m', 'ss_backbones', *words], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, '')
