"""Sets up .venv with the tested versions: says what is missing before it starts, and how far it is while mmcv compiles.

    python environment/set_up.py [STACK]

STACK is a folder in stacks/, other versions than the tested ones; they go into .venv-STACK. Run by `make setup`, which
says how the environment is used, with the Python that it shall have; needs nothing but that Python.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 10), (3, 12))  # the first and the last version that the pinned libraries work with
UV = '0.13.8'  # pinned, because another version may keep another cache and compile mmcv again
OLDEST_UV = (0, 8, 4)  # reads what pyproject.toml says about building mmcv
GIGABYTES = 7.0  # free disk space that is needed: 5.5 stay, the rest is for compiling
HEARTBEAT = 15.0  # seconds between two lines about what is going on
STACKS = Path(__file__).resolve().parent / 'stacks'


def compiler() -> str | None:
    """The C++ compiler, as torch's build finds it."""
    return shutil.which(os.environ.get('CXX', 'c++')) or shutil.which('g++')


def check_python() -> list[str]:
    version, (first, last) = sys.version_info[:2], PYTHONS
    problems = []
    if not first <= version <= last:
        problems.append(
            f'Python {version[0]}.{version[1]} ({sys.executable}) is none of the versions that the libraries need, '
            f'{first[0]}.{first[1]} to {last[0]}.{last[1]}. Give another one: make setup PYTHON=/path/to/python3.11'
        )
    headers = Path(sysconfig.get_path('include'))
    if not (headers / 'Python.h').exists():
        problems.append(
            f"Python's headers are missing, which mmcv is compiled with: there is no {headers / 'Python.h'}. "
            f'On Debian and Ubuntu: apt install python{version[0]}.{version[1]}-dev'
        )
    return problems


def check_compiler() -> list[str]:
    if (path := compiler()) is None:
        return ['There is no C++ compiler, which mmcv needs. On Debian and Ubuntu: apt install g++']
    program = '#include <optional>\nint main() { return std::optional<int>(0).value(); }\n'
    with tempfile.TemporaryDirectory() as folder:
        command = [path, '-std=c++17', '-x', 'c++', '-', '-o', f'{folder}/program']
        result = subprocess.run(command, input=program, capture_output=True, text=True)
    if result.returncode == 0:
        return []
    said = (result.stderr.strip() or 'nothing').splitlines()[0]
    return [f'{path} does not compile a program of two lines in C++17, which mmcv needs. It says: {said}']


def check_disk(folders: list[Path], gigabytes: float) -> list[str]:
    problems = []
    for folder in folders:
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free / 1e9
        if free < gigabytes:
            problems.append(f'{folder} has {free:.1f} GB of free disk space, and about {gigabytes:.0f} GB are needed.')
    return problems


def find_uv() -> str | None:
    """A uv that is new enough: the machine's own, or the one that an earlier set-up has put into .uv."""
    for path in (shutil.which('uv'), ROOT / '.uv/bin/uv'):
        if path is None or not Path(path).exists():
            continue
        said = subprocess.run([path, '--version'], capture_output=True, text=True).stdout
        version = re.search(r'(\d+)\.(\d+)\.(\d+)', said)
        if version and tuple(map(int, version.groups())) >= OLDEST_UV:
            return str(path)
    return None


def install_uv() -> str:
    folder = ROOT / '.uv'
    subprocess.run([sys.executable, '-m', 'venv', '--clear', folder], check=True)
    subprocess.run([folder / 'bin/python', '-m', 'pip', 'install', '--quiet', f'uv=={UV}'], check=True)
    return str(folder / 'bin/uv')


def progress(precompiled: Path) -> str:
    """How far mmcv's compilation is, as far as its build folder tells; nothing before it starts and after it ends."""
    try:
        build = Path((precompiled / 'build_folder').read_text())
        total = (build / 'build.ninja').read_text().count('\nbuild ')
        done = sum(1 for _ in build.rglob('*.o'))
    except OSError:
        return ''
    return f': mmcv compiles, {done} of {total} files'


def report(precompiled: Path, start: float, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT):
        minutes, seconds = divmod(round(time.monotonic() - start), 60)
        print(f'  {minutes:2} min {seconds:02} s{progress(precompiled)}', flush=True)


def sync(uv: str, stack: str, target: Path, start: float) -> int:
    """Let uv bring an environment up to date, with mmcv's build told in lines; returns uv's exit code."""
    environment = os.environ | {'UV_PROJECT_ENVIRONMENT': str(target)}
    environment.pop('VIRTUAL_ENV', None)  # of a shell with another environment: uv would warn of it
    project = ['--project', str(STACKS / stack)] if stack else ['--extra', 'openmmlab', '--extra', 'dev']
    wrapper = Path(__file__).with_name('cxx.py')
    with tempfile.TemporaryDirectory() as folder:
        if ' ' not in str(wrapper):  # which a build takes for two words
            environment |= {'CXX': str(wrapper), 'REAL_CXX': str(compiler()), 'PRECOMPILED': folder}
        done = threading.Event()
        reporter = threading.Thread(target=report, args=(Path(folder), start, done))
        reporter.start()
        try:
            return subprocess.call([uv, 'sync', '--python', sys.executable, *project], cwd=ROOT, env=environment)
        finally:
            done.set()
            reporter.join()


def check_stack(stack: str) -> list[str]:
    stacks = sorted(path.parent.name for path in STACKS.glob('*/pyproject.toml'))
    return [] if not stack or stack in stacks else [f'There is no stack {stack}; there are {", ".join(stacks)}.']


def main(stack: str = '') -> int:
    problems = check_stack(stack) + check_python() + check_compiler()
    target = ROOT / (f'.venv-{stack}' if stack else '.venv')
    uv = find_uv()
    if uv is None and subprocess.run([sys.executable, '-c', 'import ensurepip, venv'], capture_output=True).returncode:
        version = '{}.{}'.format(*sys.version_info)
        problems.append(f'Python lacks venv. On Debian and Ubuntu: apt install python{version}-venv')
    if not (target / '.set-up').exists():
        caches = Path(os.environ.get('UV_CACHE_DIR') or os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        problems += check_disk([ROOT, caches], GIGABYTES)
        problems += check_disk([Path(tempfile.gettempdir())], 1)
    if problems:
        print('The set-up cannot start:', *problems, sep='\n- ', file=sys.stderr)
        return 1
    start = time.monotonic()
    print(f'Sets up {target.name} with Python {sys.version.split()[0]} ({sys.executable}).', flush=True)
    try:
        code = sync(uv or install_uv(), stack, target, start)
    except subprocess.CalledProcessError as error:
        code = error.returncode
    except KeyboardInterrupt:
        code = 130
    if code:
        print('The set-up stopped. Once the cause is out of the way, make setup goes on from here.', file=sys.stderr)
        return code
    (target / '.set-up').touch()
    print('Ready.')
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:2]))
