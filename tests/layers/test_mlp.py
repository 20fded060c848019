"""The MLP against the paper's, and what it does to save memory: row chunks on a CPU, and an activation computed again.

Neither may change a number.
"""

from collections import Counter
from pathlib import Path

import pytest
import torch
from plain_layers import MLPS, SETTINGS, assert_same_gradients, make_mlp, mlp_plainly
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from ss_backbones import BlockSetting
from ss_backbones.layers import Mlp, chunking
from ss_backbones.settings import RAMPS


@pytest.mark.parametrize('drop', [0.0, 0.3])
@pytest.mark.parametrize('kind', MLPS)
@pytest.mark.parametrize('setting', SETTINGS, ids=repr)
def test_it_is_the_plain_one_in_training(setting: BlockSetting, kind: str, drop: float) -> None:
    mlp = make_mlp(setting, kind, drop).double().train()
    x = torch.randn(2, 5, 7, 16, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    ours = mlp(x)
    torch.manual_seed(1)
    plain = mlp_plainly(mlp, x, setting, drop)
    # The same gradients too: the ramp in the bias must reach the weights that it went through.
    assert_same_gradients(ours, plain, [x, *mlp.parameters()], 1e-11)


def test_a_bypass_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match='makes 8 hidden channels out of 16, of which 8 bypass the second linear'):
        Mlp(16, 8, bypass=8)


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        ({'act': 'gelu'}, "act='gelu' is not known; take one of GELU, ReLU"),
        ({'ramp_as': 'fixed'}, "ramp_as='fixed' is not known; take one of paper, bias, none"),
        ({'ramp': -1.0}, 'must be 0'),
        ({'bypass': 16}, 'bypass=16 of the 16 channels that leave'),
        ({'bypass': -1}, 'take 0 or more'),
    ],
)
def test_impossible_numbers_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Mlp(16, 64, **options)


class _Calls(TorchDispatchMode):
    """Counts the operators."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        self.of[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def _image_bytes(mlp: Mlp, height: int, width: int) -> int:
    return height * width * mlp.fc1.out_features * 8


@pytest.mark.parametrize(
    ('images', 'convolutions'), [(0.0, 3 * 3), (0.5, 3 * 2), (1.0, 3), (2.0, 2), (3.0, 1)], ids=str
)
@pytest.mark.parametrize('kind', ['conv', 'conv with relu'])
@pytest.mark.parametrize('setting', SETTINGS, ids=repr)
def test_row_chunks_give_the_mlp_plainly(
    setting: BlockSetting, kind: str, images: float, convolutions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlp = make_mlp(setting, kind).double().eval()
    x = torch.randn(3, 22, 5, 16, dtype=torch.float64)
    monkeypatch.setattr(chunking, 'CHUNK_BYTES', int(images * _image_bytes(mlp, 22, 5)))
    with torch.no_grad(), _Calls() as calls:
        ours = mlp(x)
    assert calls.of['convolution'] == convolutions
    assert ours.is_contiguous()
    with torch.no_grad():
        torch.testing.assert_close(ours, mlp_plainly(mlp, x, setting), rtol=1e-12, atol=1e-12)


def test_a_compiler_gets_the_whole_map(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp = make_mlp(BlockSetting(), 'conv', dim=8).eval()
    monkeypatch.setattr(chunking, 'CHUNK_BYTES', 0)
    x = torch.randn(1, 32, 4, 8)
    with torch.no_grad():
        graph = torch.export.export(mlp, (x,)).graph
        traced = torch.jit.trace(mlp, (x,), check_trace=False).inlined_graph
    assert sum('conv2d' in str(node.target) for node in graph.nodes) == 1
    assert sum('_convolution' in node.kind() for node in traced.nodes()) == 1


@pytest.mark.parametrize('kind', ['mlp', 'conv'])
@pytest.mark.parametrize('setting', SETTINGS, ids=repr)
def test_training_keeps_no_activated_features(setting: BlockSetting, kind: str) -> None:
    mlp = make_mlp(setting, kind).train()
    x = torch.randn(2, 6, 7, 16, requires_grad=True)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape.numel() >= x.numel():
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []
    with _Calls() as calls:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = mlp(x)
        out.sum().backward()
    hidden = x[..., 0].numel() * mlp.fc1.out_features * 4
    # x for fc1; then what the convolution gets, if there is one, and what GELU gets or ReLU returns
    assert sum(kept.values()) == x.numel() * 4 + hidden * (2 if kind == 'conv' else 1)
    assert calls.of['gelu'] == (2 if isinstance(mlp.act, nn.GELU) else 0)
    assert calls.of['addmm'] == 2  # neither linear is computed again
    assert calls.of['convolution'] == (kind == 'conv')


@pytest.mark.parametrize('kind', ['mlp', 'conv'])
@pytest.mark.parametrize('setting', SETTINGS, ids=repr)
def test_gradients_are_of_the_weights_that_were_used(setting: BlockSetting, kind: str) -> None:
    torch.manual_seed(0)
    mlp, other = (make_mlp(setting, kind).double().train() for _ in range(2))
    x = torch.randn(2, 6, 7, 16, dtype=torch.float64)
    parameters = dict(mlp.named_parameters())
    probe = torch.randn_like(x)
    (mlp_plainly(mlp, x, setting) * probe).sum().backward()
    expected = [parameter.grad for parameter in parameters.values()]

    through_other = (functional_call(other, parameters, (x,)) * probe).sum()  # other's own weights are back by now
    by_call = torch.autograd.grad(through_other, list(parameters.values()))

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor, probe: torch.Tensor) -> torch.Tensor:
        return (functional_call(other, parameters, (x,)) * probe).sum()

    detached = {name: parameter.detach() for name, parameter in parameters.items()}
    by_func = torch.func.grad(loss)(detached, x, probe)
    torch.testing.assert_close(list(by_call), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(list(by_func.values()), expected, rtol=1e-10, atol=1e-10)
    if kind == 'mlp':  # convolutions of several weights at once are another matter
        per_image = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(detached, x[:, None], probe[:, None])
        torch.testing.assert_close([grad.sum(0) for grad in per_image.values()], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('ramp', RAMPS)
def test_autocast_in_training(dtype: torch.dtype, ramp: str) -> None:
    setting = BlockSetting(pos_scale=1.0, mlp_split=0.5, ramp=ramp)
    mlp = make_mlp(setting, 'conv').train()
    x = torch.randn(2, 6, 7, 16, requires_grad=True)
    inputs = [x, *mlp.parameters()]
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        ours, plain = mlp(x), mlp_plainly(mlp, x, setting)
    assert ours.dtype == plain.dtype
    tolerance = dict(rtol=2e-2, atol=4e-2) if dtype == torch.bfloat16 else dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, plain, **tolerance)
    probe = torch.randn_like(ours)
    for ours_grad, plain_grad in zip(
        torch.autograd.grad(ours, inputs, probe), torch.autograd.grad(plain, inputs, probe), strict=True
    ):
        assert ours_grad.dtype == plain_grad.dtype
        scale = plain_grad.abs().max()
        torch.testing.assert_close(ours_grad / scale, plain_grad / scale, **tolerance)


@pytest.mark.parametrize('ramp', RAMPS)
def test_second_derivatives(ramp: str) -> None:
    mlp = make_mlp(BlockSetting(pos_scale=1.0, mlp_split=0.5, ramp=ramp), dim=4).double().train()
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name in ('fc2.bias', 'bypass_bias') if name in dict(mlp.named_parameters())]

    def call(x: torch.Tensor, *biases: torch.Tensor) -> torch.Tensor:
        return functional_call(mlp, dict(zip(names, biases, strict=True)), x)

    inputs = (x, *(mlp.get_parameter(name).detach().requires_grad_() for name in names))
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize('setting', [BlockSetting(), BlockSetting(act='ReLU')], ids=repr)
@pytest.mark.parametrize('training', [False, True])
def test_hooks_see_the_whole_map_once(setting: BlockSetting, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, 'CHUNK_BYTES', 0)
    mlp = make_mlp(setting, 'conv', dim=8).train(training)
    seen: list[tuple[str, tuple[int, ...]]] = []
    for name in ('fc1', 'dwconv', 'act'):
        layer = getattr(mlp, name)
        layer.register_forward_hook(lambda _, __, out, name=name: seen.append((name, tuple(out.shape))))
        layer.register_full_backward_hook(lambda _, __, grads, name=name: seen.append((name, tuple(grads[0].shape))))
    x = torch.randn(1, 32, 4, 8, requires_grad=True)
    with torch.no_grad():
        mlp(x)
    mlp(x).sum().backward()
    tokens, image = (1, 32, 4, 32), (1, 32, 32, 4)
    once = [('fc1', tokens), ('dwconv', image), ('act', tokens)]
    assert seen == [*once, *once, *reversed(once)]


def test_dropout_draws_the_same_with_and_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, 'CHUNK_BYTES', 0)
    mlp = make_mlp(BlockSetting(), 'conv', 0.5, dim=8).train()
    x = torch.randn(1, 32, 4, 8)
    torch.manual_seed(0)
    with_gradients = mlp(x)
    torch.manual_seed(0)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), with_gradients)


@pytest.mark.parametrize('training', [False, True])
def test_a_trace_with_gradients_is_saved_and_computes_the_same(training: bool, tmp_path: Path) -> None:
    mlp = make_mlp(BlockSetting(), 'conv', dim=8).train(training)
    x = torch.randn(1, 6, 4, 8)
    torch.jit.trace(mlp, (x,)).save(str(tmp_path / 'mlp.pt'))
    torch.testing.assert_close(torch.jit.load(str(tmp_path / 'mlp.pt'))(x), mlp(x))
