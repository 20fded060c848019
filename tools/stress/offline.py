"""Name addresses where there is no network, which fails in several ways: each way in must say which address cannot be
downloaded, and why, within seconds. Nothing leaves this machine: sockets fail as they are told to.
"""

import errno
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from unittest import mock

import torch
from checkout import finish, parser
from corruptions import ARCH, by_detector, by_timm
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import DataLoader

from ss_backbones import CheckpointError, SSPVTv2, load_weights
from ss_backbones.checkpoints.files import read_checkpoint
from ss_backbones.compress.sources import read_source
from ss_backbones.training import Runner

PATIENCE = 20  # seconds
NO_NAMES = 'name resolution'
FAULTS: dict[str, OSError] = {
    NO_NAMES: socket.gaierror(-3, 'Temporary failure in name resolution'),
    'unreachable': OSError(errno.ENETUNREACH, 'Network is unreachable'),
    'refused': ConnectionRefusedError(errno.ECONNREFUSED, 'Connection refused'),
    'timeout': TimeoutError(errno.ETIMEDOUT, 'Connection timed out'),
    'reset': ConnectionResetError(errno.ECONNRESET, 'Connection reset by peer'),
}
_RUNS = count()  # mmengine keeps what belongs to a run by its name


class _Model(BaseModel):
    def __init__(self, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs: torch.Tensor, mode: str = 'loss') -> dict:
        return {'loss': self.layer(inputs.view(-1, 1)).mean()}


def train(init_cfg: dict | None = None, **options: object) -> None:
    """A training of one iteration."""
    with tempfile.TemporaryDirectory() as place:
        Runner(
            model=_Model(init_cfg),
            work_dir=place,
            train_dataloader=DataLoader([{'inputs': torch.ones(1)}]),
            train_cfg=dict(by_epoch=False, max_iters=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            experiment_name=f'offline{next(_RUNS)}',
            cfg=Config(options),
            log_level='ERROR',
            **options,
        ).train()


WAYS: dict[str, Callable[[str], object]] = {
    'load_weights': lambda address: load_weights(SSPVTv2(ARCH), address),
    'init_cfg in mmdet': lambda address: by_detector(SSPVTv2(ARCH), address),
    "timm's checkpoint_path": by_timm,
    'inherit --source': read_source,
    'a checkpoint': read_checkpoint,
    'load_from': lambda address: train(load_from=address),
    'load_from, resume': lambda address: train(load_from=address, resume=True),
    'init_cfg of others': lambda address: train(dict(type='Pretrained', checkpoint=address)),
}


@contextmanager
def broken(fault: str) -> Iterator[None]:
    """No connection; names are known, unless that is the fault."""
    known = [(socket.AF_INET, socket.SOCK_STREAM, 6, '', ('192.0.2.1', 443))]  # an address for documentation
    names = {'side_effect': FAULTS[fault]} if fault == NO_NAMES else {'return_value': known}
    with (
        mock.patch.object(socket, 'getaddrinfo', **names),
        mock.patch.object(socket.socket, 'connect', side_effect=FAULTS[fault]),
    ):
        yield


def problem(way: str, address: str, fault: str) -> str:
    """What is wrong with what is said, or nothing."""
    start = time.monotonic()
    try:
        with broken(fault):
            WAYS[way](address)
        return 'nothing is said'
    except CheckpointError as error:
        named = address if way != 'init_cfg of others' else "the model's init_cfg"  # mmengine does not tell more
        missing = [word for word in (named, FAULTS[fault].strerror) if word not in str(error)]
        if missing:
            return f'{missing[0]} is not in: {str(error)[:200]}'
    except Exception as error:  # any other is a finding
        return f'{type(error).__name__}: {str(error)[:200]}'
    seconds = time.monotonic() - start
    return f'{seconds:.0f} seconds' if seconds > PATIENCE else ''


def run(cases: int, seed: int) -> tuple[dict[str, Counter], list[str]]:
    """How many addresses were right, by the way in, and what was wrong."""
    counts, wrong = {way: Counter() for way in WAYS}, []
    for way in WAYS:
        for case in range(cases):
            chance = random.Random(f'{seed} {way} {case}')
            fault = list(FAULTS)[case % len(FAULTS)]
            scheme, ending = chance.choice(('http', 'https')), chance.choice(('.pth', '.safetensors', ''))
            address = f'{scheme}://host.invalid/{chance.randrange(10**9)}/weights{ending}'
            found = problem(way, address, fault)
            counts[way]['WRONG' if found else 'right'] += 1
            if found:
                wrong.append(f'{way}, {address}, {fault}: {found}')
    return counts, wrong


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument('--count', type=int, default=10, help='addresses for each way in (10)')
    given = arguments.parse_args()
    return finish('way in', ('right', 'WRONG'), *run(given.count, given.seed))


if __name__ == '__main__':
    sys.exit(main())
