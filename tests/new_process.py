"""A script in a process of its own that has the large libraries already: importing them takes longer than most tests.

It is forked from a server that has imported these libraries and nothing of this package. Tests of what is imported,
and when, start an interpreter instead.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

_SERVER = multiprocessing.get_context('forkserver')
_SERVER.set_forkserver_preload(['torch', 'timm', 'mmengine.runner', 'mmdet.apis', 'mmseg.apis', 'matplotlib.pyplot'])


def run_script(
    script: Path, arguments: Sequence[object] = (), *, cwd: Path, environment: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run a script to its end; ``environment`` is added to that of the tests. ``stdout`` has all that was said."""
    with tempfile.NamedTemporaryFile('r') as said:
        process = _SERVER.Process(
            target=_run, args=(str(script), [*map(str, arguments)], cwd, dict(environment or {}), said.name)
        )
        process.start()
        process.join()
        return CompletedProcess([script, *arguments], process.exitcode, said.read())


def _run(script: str, arguments: list[str], cwd: Path, environment: dict[str, str], said: str) -> None:
    stream = os.open(said, os.O_WRONLY | os.O_APPEND)
    for own in (1, 2):
        os.dup2(stream, own)
    os.chdir(cwd)
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name='__main__')
