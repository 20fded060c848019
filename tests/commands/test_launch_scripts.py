"""tools/dist_train.sh and tools/slurm_train.sh: arguments, signals, exit codes; Slurm and training are stand-ins."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_stand_in import slurm_environment
from torch.distributed.launcher.api import LaunchConfig

from ss_backbones.classification import launch
from ss_backbones.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
DIST, SLURM = ROOT / 'tools/dist_train.sh', ROOT / 'tools/slurm_train.sh'

# A training, and HOW it ends: at once with an exit code, on any signal, on SIGTERM alone, or as the signal has it.
TOOL = """
import os, signal, sys, time
rank, how = os.environ.get('RANK', os.environ.get('SLURM_PROCID')), os.environ['HOW']
def say(*words):
    os.write(1, (' '.join([words[0], rank, *words[1:]]) + chr(10)).encode())  # in one piece
say('arguments', *sys.argv[1:])
if how.isdigit():
    sys.exit(int(how))
def note(number, frame):
    say('signal', signal.Signals(number).name)
    if number == signal.SIGTERM or how == 'any':
        sys.exit(75)
if how != 'deaf':
    signal.signal(signal.SIGUSR1, note)
    signal.signal(signal.SIGTERM, note)
say('ready')
time.sleep(60)
"""


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    (tmp_path / 'config.py').touch()
    (tmp_path / 'tool.py').write_text(TOOL)
    return tmp_path / 'tool.py'


class Script:
    """A script that runs; ``say`` reads on until its output has had a text so many times."""

    def __init__(self, *command: object, **environment: object) -> None:
        self.output = ''
        variables = {**os.environ, 'PYTHON': sys.executable, **{key: str(value) for key, value in environment.items()}}
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables
        )

    def say(self, text: str, times: int) -> None:
        for line in self.process.stdout:
            self.output += line
            if self.output.count(text) == times:
                return
        raise AssertionError(self.output)

    def end(self) -> int:
        self.output += self.process.communicate(timeout=60)[0]
        return self.process.returncode


def refused(*command: object, **environment: object) -> str:
    script = Script(*command, **environment)
    assert script.end() == 2
    return script.output


def test_dist_train_explains_what_is_missing(tool: Path):
    config = tool.with_name('config.py')
    assert 'expected CONFIG GPUS' in refused(DIST)
    assert 'expected CONFIG GPUS' in refused(DIST, config)
    assert 'no config file nowhere.py' in refused(DIST, 'nowhere.py', 2)
    assert 'GPUS is --resume' in refused(DIST, config, '--resume')
    assert 'needs NODE_RANK and MASTER_ADDR' in refused(DIST, config, 2, NNODES=2, NODE_RANK=0)
    assert 'there is no no-python' in refused(DIST, config, 2, PYTHON='no-python')


def test_dist_train_starts_torchrun(tool: Path):
    """With an interpreter that prints its arguments."""
    config = tool.with_name('config.py')
    nodes = {'NNODES': 2, 'NODE_RANK': 1, 'MASTER_ADDR': 'first', 'PORT': 1234}
    script = Script(DIST, config, 4, '--resume', '--work-dir', 'a b', PYTHON='echo', **nodes)
    assert script.end() == 0
    assert script.output.split(maxsplit=1)[1].strip() == (
        '--nnodes=2 --node_rank=1 --nproc_per_node=4 --master_addr=first --master_port=1234 '
        f'{ROOT}/tools/pretrain.py {config} --launcher pytorch --resume --work-dir a b'
    )
    script = Script(DIST, 'ss_backbones::imagenet/a.py', 1, PYTHON='echo', PORT=1234)  # of an installed library
    assert script.end() == 0 and 'pretrain.py ss_backbones::imagenet/a.py --launcher pytorch' in script.output


def test_dist_train_passes_signals_on_and_exits_as_the_training(tool: Path):
    script = Script(DIST, tool.with_name('config.py'), 2, '--work-dir', 'a b', TOOL=tool, HOW='term')
    script.say('ready', 2)
    script.process.send_signal(signal.SIGUSR1)  # torchrun would die of it
    script.say('SIGUSR1', 2)
    script.process.send_signal(signal.SIGTERM)
    # an older torchrun takes the signal itself
    assert script.end() == (75 if hasattr(LaunchConfig, 'signals_to_handle') else 128 + signal.SIGTERM)
    assert script.output.count('SIGTERM') >= 2
    assert f'arguments 1 {tool.with_name("config.py")} --launcher pytorch --work-dir a b\n' in script.output
    assert 'Traceback' not in script.output


def test_dist_train_exits_as_a_failed_training(tool: Path):
    script = Script(DIST, tool.with_name('config.py'), 1, TOOL=tool.with_name('fails.py'))
    assert script.end() == 2  # Python's own code where there is no such script
    assert 'Traceback' not in script.output


@pytest.fixture
def slurm(tool: Path) -> Iterator[dict[str, str]]:
    yield slurm_environment(tool.parent) | {'TOOL': str(tool)}


def requeued(environment: dict[str, str]) -> str:
    return Path(environment['REQUEUED']).read_text()


@pytest.mark.parametrize(
    ('number', 'how', 'code'),
    [(signal.SIGUSR1, 'any', 75), (signal.SIGTERM, 'any', 75), (signal.SIGUSR1, 'deaf', 138)],
    ids=['SIGUSR1', 'SIGTERM', 'before the training listens'],
)
def test_slurm_train_requeues(number: int, how: str, code: int, slurm: dict[str, str], tool: Path):
    script = Script(SLURM, tool.with_name('config.py'), '--amp', 'bf16', **slurm, HOW=how)
    script.say('ready', 2)
    script.process.send_signal(number)
    assert script.end() == code
    assert requeued(slurm) == 'requeue 4711\n'
    for rank in range(2):
        assert f'arguments {rank} {tool.with_name("config.py")} --amp bf16 --launcher slurm --resume\n' in script.output
        if how != 'deaf':
            assert f'signal {rank} SIGUSR1' in script.output  # SIGTERM to srun would kill the tasks
    assert 'at node1:24711' in script.output


def test_slurm_train_requeues_what_was_preempted_without_its_knowledge(slurm: dict[str, str], tool: Path):
    assert Script(SLURM, tool.with_name('config.py'), **slurm, HOW=75).end() == 75
    assert requeued(slurm) == 'requeue 4711\n'


@pytest.mark.parametrize('code', [0, 1, 2, 138])
def test_slurm_train_leaves_the_queue_where_it_ends_or_fails(code: int, slurm: dict[str, str], tool: Path):
    assert Script(SLURM, tool.with_name('config.py'), **slurm, HOW=code).end() == code
    assert requeued(slurm) == ''


def test_slurm_train_does_not_bring_a_cancelled_job_back(slurm: dict[str, str], tool: Path):
    script = Script(SLURM, tool.with_name('config.py'), **slurm, HOW='any', STATE='COMPLETING')
    script.say('ready', 2)
    script.process.send_signal(signal.SIGTERM)
    assert script.end() == 75
    assert requeued(slurm) == ''


def test_slurm_train_explains_what_is_missing(slurm: dict[str, str], tool: Path):
    assert 'this is for sbatch' in refused(SLURM, tool.with_name('config.py'))
    assert 'expected sbatch' in refused(SLURM, **slurm)
    assert 'no config file nowhere.py' in refused(SLURM, 'nowhere.py', **slurm)
    assert 'submit from the folder of the repository' in refused(SLURM, 'nowhere.py', **slurm | {'TOOL': 'tools/no.py'})


def test_a_process_without_a_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch.torch.cuda, 'device_count', lambda: 2)
    launch._check_gpus(1)
    with pytest.raises(UsageError, match=r'process 2 .* sees 2 GPUs'):
        launch._check_gpus(2)
