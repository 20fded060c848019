"""The registries, safe loading of mmengine's checkpoints, imports, and DDP."""

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from new_process import run_script
from small_networks import backbone_of
from table import SMALL

import ss_backbones
from ss_backbones.openmmlab.safe_globals import history_statistic

ROOT = Path(__file__).resolve().parents[2]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.mark.parametrize('network', SMALL, ids=lambda network: network.__name__)
@pytest.mark.parametrize('scope', ['', 'ss_backbones.'])
@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_both_libraries_build_both_names(library: str, scope: str, network: type) -> None:
    registry = pytest.importorskip(f'{library}.registry').MODELS
    cls, options = backbone_of(network), next(iter(SMALL[network].values()))
    assert type(registry.build(dict(type=scope + cls.__name__, **options))) is cls


def test_every_public_name_is_there() -> None:
    assert all(hasattr(ss_backbones, name) for name in ss_backbones.__all__)
    assert {'SSPVTv2', 'SSSwin', 'SSViT', 'LayerDecayOptimizerConstructor'} <= set(ss_backbones.__all__)


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_the_full_name_needs_no_import(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    code = (
        'import sys; from {0}.registry import MODELS; assert "ss_backbones" not in sys.modules;'
        'net = MODELS.build(dict(type="ss_backbones.SSPVTv2", arch="b0")); print(type(net).__name__, net.channels)'
    )
    (tmp_path / 'build.py').write_text(code.format(library))
    assert 'SSPVTv2 [32, 64, 160, 256]' in run_script(tmp_path / 'build.py', cwd=ROOT).stdout


def test_importing_is_light() -> None:
    code = 'import sys, ss_backbones; print([m for m in ("mmcv", "mmdet", "mmseg") if m in sys.modules])'
    assert run(code).stdout.strip() == '[]'


def test_without_mmengine_timm_works_and_the_backbone_says_what_it_needs() -> None:
    code = """
import sys
sys.modules['mmengine'] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == 'mmengine' else find(name, *a)
import timm, ss_backbones
print(timm.create_model('ss_pvt_v2_b0').num_classes)
try:
    ss_backbones.SSPVTv2
except ImportError as error:
    print(error)
"""
    out = run(code)
    assert out.stdout.split('\n')[0] == '1000', out.stderr
    assert 'ss_backbones.SSPVTv2 needs mmengine. Install it as the README says' in out.stdout


def test_a_broken_mmengine_is_named_and_timm_works() -> None:
    code = """
import importlib.machinery, sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmengine':
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec): return None
    def exec_module(self, module): raise ImportError('no pkg_resources')
sys.meta_path.insert(0, Broken())
import timm, ss_backbones
print(timm.create_model('ss_pvt_v2_b0').num_classes)
"""
    out = run(code)
    assert (
        out.stdout.strip() == '1000' and 'mmengine cannot be imported' in out.stderr and 'pkg_resources' in out.stderr
    )


def mmengine_checkpoint(file: Path) -> None:
    hub = MessageHub.get_instance('test_safe_globals')
    for i in range(3):
        hub.update_scalar('train/loss', np.float64(i))
        hub.update_scalar('train/lr', torch.tensor(0.5 * i))
    hub.update_info('iter', 3)
    torch.save({'message_hub': hub.state_dict(), 'state_dict': {'w': torch.ones(2)}, 'meta': {'epoch': 1}}, file)


def test_mmengine_checkpoints_load_with_the_check_on(tmp_path: Path) -> None:
    file = tmp_path / 'epoch_1.pth'
    mmengine_checkpoint(file)
    history = torch.load(file, weights_only=True)['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer) and history.mean() == 1 and history.current() == 2
    # Without the package the same file is refused, or this test would show nothing.
    (tmp_path / 'load.py').write_text('import sys, torch, mmengine; torch.load(sys.argv[1], weights_only=True)')
    assert 'UnpicklingError' in run_script(tmp_path / 'load.py', [file], cwd=ROOT).stdout


class _Evil:
    """Pickles as the call getattr(HistoryBuffer, '__init__')."""

    def __reduce__(self) -> tuple:
        return getattr, (HistoryBuffer, '__init__')


def test_getattr_stays_shut_for_everything_else(tmp_path: Path) -> None:
    for thing in (_Evil(), os.system):
        torch.save({'x': thing}, tmp_path / 'evil.pth')
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / 'evil.pth', weights_only=True)
    for owner, name in ((os, 'system'), (HistoryBuffer, '__init__'), (HistoryBuffer, '__subclasses__')):
        with pytest.raises(pickle.UnpicklingError, match='not safe to load'):
            history_statistic(owner, name)
    assert history_statistic(HistoryBuffer, 'mean') is HistoryBuffer.mean


_DDP = """
import os, sys
import torch, torch.distributed as dist
from ss_backbones import SSPVTv2, SSSwin, SSViT
dist.init_process_group('gloo')
torch.set_num_threads(1)
PVT = dict(embed_dims=(16, 32, 40, 64), depths=(1, 1, 1, 1))
VIT = dict(embed_dim=16, depth=3, num_heads=2)
SWIN = dict(embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2))
for make in (
    lambda: SSPVTv2(PVT),
    lambda: SSPVTv2(PVT, frozen_stages=2, out_indices=(0, 2), with_cp=True),
    lambda: SSPVTv2(PVT, frozen_stages=1, out_indices=(1,), with_cp=True),
    lambda: SSPVTv2(PVT, frozen_stages=0, out_indices=(3,)),
    lambda: SSSwin(SWIN, window_size=2),
    lambda: SSSwin(SWIN, window_size=2, frozen_stages=2, out_indices=(1, 2), with_cp=True),
    lambda: SSViT(VIT, window_size=1),
    lambda: SSViT(VIT, frozen_stages=2, out_indices=(0, 2), with_cp=True),
    lambda: SSViT(VIT, frozen_stages=0, pyramid=False, out_indices=(1,)),
    lambda: SSViT(VIT, frozen_stages=3),
):
    torch.manual_seed(0)
    net = make()
    model = torch.nn.parallel.DistributedDataParallel(net.train(), find_unused_parameters=False)
    step = torch.optim.SGD(model.parameters(), 0.1)
    for i in range(3):  # an unused parameter shows in the second iteration
        torch.manual_seed(10 * i + dist.get_rank())
        step.zero_grad()
        sum(m.square().mean() for m in model(torch.randn(2, 3, 32, 32))).backward()
        step.step()
    total = sum(p.double().sum() for p in net.parameters()).detach()
    both = [torch.zeros_like(total) for _ in range(2)]
    dist.all_gather(both, total)
    assert both[0] == both[1], net
dist.destroy_process_group()
print('ranks agree')
"""


def test_two_processes_with_frozen_stages_and_checkpointing() -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    environment = dict(os.environ, MASTER_ADDR='127.0.0.1', MASTER_PORT=port, WORLD_SIZE='2')
    ranks = [
        subprocess.Popen(
            [sys.executable, '-c', _DDP], env=dict(environment, RANK=str(rank)), cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        for rank in ranks:
            out, errors = rank.communicate(timeout=240)
            assert rank.returncode == 0 and 'ranks agree' in out, errors[-2000:]
    finally:
        for rank in ranks:
            rank.kill()
