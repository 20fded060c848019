"""CompileBackboneHook: one graph for all sizes, the same figures and checkpoints as without it, plain errors."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('mmengine')

import torch  # noqa: E402
from mmengine.evaluator import BaseMetric  # noqa: E402
from mmengine.hooks import EMAHook  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from table import MODELS, PVT_V2  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402

from ss_backbones import SSPVTv2, SSViT, SSXCiT  # noqa: E402
from ss_backbones.errors import UsageError  # noqa: E402
from ss_backbones.networks.pvt_v2 import ARCHS as PVT_V2_ARCHS  # noqa: E402
from ss_backbones.networks.vit import ARCHS as VIT_ARCHS  # noqa: E402
from ss_backbones.networks.xcit import ARCHS as XCIT_ARCHS  # noqa: E402
from ss_backbones.openmmlab.compile_backbone import CompileBackboneHook  # noqa: E402


def tiny(arch: str) -> tuple[type[nn.Module], dict[str, object]]:
    """The class and the arch, as narrow and shallow as it gets."""
    if arch in PVT_V2_ARCHS:
        small = {'embed_dims': (8, 8, 10, 16), 'depths': (1, 1, 1, 1), 'mlp_ratios': (2, 2, 2, 2)}
        return SSPVTv2, asdict(replace(PVT_V2_ARCHS[arch], **small))
    if arch in XCIT_ARCHS:
        return SSXCiT, asdict(replace(XCIT_ARCHS[arch], embed_dim=16, depth=2, num_heads=2))
    return SSViT, asdict(replace(VIT_ARCHS[arch], embed_dim=12, depth=2, num_heads=3))


# most archs differ in width and depth alone, so that their tiny forms are the same
KINDS = list({repr(tiny(row.arch)): row.arch for row in reversed(MODELS)}.values())
PYRAMID = PVT_V2[0].arch


def build(arch: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    cls, shape = tiny(arch)
    return cls(shape, **options)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()
    counters.clear()


def stub(model: nn.Module, **cfg: object) -> SimpleNamespace:
    """What the hook needs of a runner."""
    return SimpleNamespace(model=model, cfg=cfg, logger=logging.getLogger('compile_backbone'))


def run_hook(backbone: nn.Module, **options: object) -> None:
    model = nn.Module()
    model.backbone = backbone
    CompileBackboneHook(**{'backend': 'eager', **options}).before_run(stub(model))
    counters.clear()  # the hook has compiled something small


def step(model: nn.Module, x: Tensor) -> tuple[Sequence[Tensor], Mapping[str, Tensor]]:
    """The maps, and the gradients of the parameters."""
    model.zero_grad()
    torch.manual_seed(1)  # of drop path
    maps = model(x)
    sum(m.square().mean() for m in maps).backward()
    return maps, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compare(compiled: nn.Module, plain: nn.Module, x: Tensor, tolerance: float) -> None:
    (maps, gradients), (expected, expected_gradients) = step(compiled, x), step(plain, x)
    torch.testing.assert_close(maps, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradients, expected_gradients, rtol=tolerance, atol=tolerance)
    assert gradients


def graphs() -> int:
    """How many were made; a break in one is a failure."""
    assert not counters['graph_break']
    return counters['stats']['unique_graphs']


@pytest.mark.parametrize(('arch', 'settings'), [*((arch, 'specific') for arch in KINDS), (PYRAMID, 'uniform')])
def test_one_graph_for_images_of_many_sizes(arch: str, settings: str) -> None:
    plain = build(arch, settings=settings)
    compiled = copy.deepcopy(plain)
    run_hook(compiled, dynamic=True)
    for batch, height, width in ((2, 64, 96), (4, 96, 64), (2, 160, 192), (4, 192, 128)):
        compare(compiled, plain, torch.randn(batch, 3, height, width), 1e-6)
    assert graphs() == 1


@pytest.mark.parametrize('options', [{'with_cp': True}, {'bf16': True}, {'frozen_stages': 1}, {'drop_path_rate': 0.5}])
def test_one_graph_with_each_option(options: dict[str, object]) -> None:
    plain = build(PYRAMID, **options)
    compiled = copy.deepcopy(plain)
    run_hook(compiled)
    compare(compiled, plain, torch.randn(2, 3, 64, 96), 1e-6)
    assert graphs() == 1


def test_same_figures_after_autograd_has_its_own_graph() -> None:
    plain = build(PYRAMID, drop_path_rate=0.0)
    compiled = copy.deepcopy(plain)
    run_hook(compiled, backend='aot_eager')
    compare(compiled, plain, torch.randn(2, 3, 64, 96), 1e-5)
    assert graphs() == 1


def test_each_mode_of_the_module_is_compiled_once() -> None:
    model = build(PYRAMID)
    run_hook(model)
    for _ in range(2):
        model.train()(torch.randn(2, 3, 64, 96))
        with torch.no_grad():
            model.eval()(torch.randn(2, 3, 64, 96))
    assert graphs() == 2


@pytest.mark.parametrize('inside', [False, True])
def test_backbone_behind_a_wrapper(inside: bool) -> None:
    model = nn.Module()
    backbone = build(PYRAMID)
    model.backbone = nn.DataParallel(backbone) if inside else backbone
    hook = CompileBackboneHook(backend='eager')
    runner = stub(model if inside else nn.DataParallel(model))
    hook.before_run(runner)
    counters.clear()
    backbone(torch.randn(2, 3, 64, 96))
    hook.before_run(runner)  # as a test after a training does
    backbone(torch.randn(2, 3, 64, 96))
    assert graphs() == 1


# ---- in mmengine's Runner


class Toy(BaseModel):
    """A backbone with a loss; validation gives the mean of the last map."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = build(PYRAMID)

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> object:
        maps = self.backbone(inputs)
        return {'loss': sum(m.square().mean() for m in maps)} if mode == 'loss' else [maps[-1].mean().item()]

    def train_step(self, data: Tensor, optim_wrapper: object) -> dict[str, Tensor]:
        loss = self(data, 'loss')['loss']
        optim_wrapper.update_params(loss)
        return {'loss': loss}

    def val_step(self, data: Tensor) -> list[float]:
        return self(data)


class Mean(BaseMetric):
    """Of what the model said."""

    def process(self, data_batch: object, data_samples: list[float]) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {'mean': sum(results) / len(results)}


def train(folder: Path, hooks: list[object], load_from: Path | None = None) -> tuple[dict, dict[str, Tensor]]:
    """Two steps and a validation; the metrics and the state dict that was saved."""
    torch.manual_seed(0)
    data = torch.utils.data.DataLoader(torch.randn(4, 3, 64, 96), batch_size=2)
    runner = Runner(
        model=Toy(),
        work_dir=str(folder),
        train_dataloader=data,
        val_dataloader=data,
        train_cfg={'by_epoch': True, 'max_epochs': 1},
        val_cfg={},
        val_evaluator=[Mean()],
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        custom_hooks=[EMAHook(momentum=0.5), *hooks],
        load_from=str(load_from) if load_from else None,
        experiment_name=f'{folder.name}{bool(hooks)}',
        randomness={'seed': 0},
        log_level='ERROR',
    )
    runner.train()
    saved = torch.load(folder / 'epoch_1.pth', weights_only=False)
    return runner.message_hub.get_scalar('val/mean').current(), saved


def test_training_with_and_without_it_are_the_same(tmp_path: Path) -> None:
    hook = CompileBackboneHook(backend='eager')
    value, saved = train(tmp_path / 'compiled', [hook])
    assert counters['stats']['unique_graphs'] == 1 + 2  # the trial; training and validation
    plain_value, plain = train(tmp_path / 'plain', [])
    assert value == pytest.approx(plain_value, rel=1e-5)
    for part in ('state_dict', 'ema_state_dict'):  # the average, and the raw weights
        assert saved[part].keys() == plain[part].keys()
        torch.testing.assert_close(saved[part], plain[part])
    assert set(saved['state_dict']) == set(Toy().state_dict())
    # each goes on from the other's file
    value, saved = train(tmp_path / 'on', [CompileBackboneHook(backend='eager')], tmp_path / 'plain/epoch_1.pth')
    plain_value, plain = train(tmp_path / 'on_plain', [], tmp_path / 'compiled/epoch_1.pth')
    assert value == pytest.approx(plain_value, rel=1e-5)
    torch.testing.assert_close(saved['state_dict'], plain['state_dict'])


# ---- what is refused


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        ({'mode': 'fast'}, 'mode=fast, should be one of: default'),
        ({'backend': 'fast'}, "no backend='fast' for torch.compile here. There are .*inductor"),
        ({'dynamic': 'yes'}, "dynamic='yes' must be True, False or None"),
        ({'mode': 'default', 'backend': 'eager'}, "leave it out with backend='eager'"),
    ],
)
def test_bad_arguments(options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=f'CompileBackboneHook: .*{text}'):
        CompileBackboneHook(**options)


def test_what_cannot_be_compiled_is_said_before_the_training() -> None:
    hook = CompileBackboneHook(backend='eager')
    with pytest.raises(UsageError, match=r'compiles model.backbone, but Linear has none. .*compile=True'):
        hook.before_run(stub(nn.Linear(1, 1)))
    model = nn.Module()
    model.backbone = build(PYRAMID)
    with pytest.raises(UsageError, match='compile=True compiles the whole step, and CompileBackboneHook'):
        hook.before_run(stub(model, compile=True))


def test_a_backend_that_does_not_work_is_said_before_the_training() -> None:
    model = nn.Module()
    model.backbone = build(PYRAMID)
    hook = CompileBackboneHook(backend='relu_compile_error_TESTING_ONLY')  # torch's own, which fails at any ReLU
    with pytest.raises(UsageError, match='does not work on this machine: .*leave the hook out'):
        hook.before_run(stub(model))
