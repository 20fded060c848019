"""Grouped linear layers and DFC: against plain re-computations, their gradients, and what they keep in memory."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ss_backbones.layers import DFC, DfcMlp, GroupedLinear


def randomised(module: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    module = module.to(dtype)
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def groups_by_hand(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One number after the other."""
    groups, size = weight.shape
    out = torch.zeros(len(x), groups, dtype=x.dtype)
    for n in range(len(x)):
        for j in range(groups):
            out[n, j] = bias[j] + sum(weight[j, i] * x[n, j * size + i] for i in range(size))
    return out


def dfc_by_hand(layer: DFC, x: Tensor) -> Tensor:
    gates = groups_by_hand(x, layer.gl1.weight, layer.gl1.bias) @ layer.gate.weight.T + layer.gate.bias
    return groups_by_hand(gates * x, layer.gl2.weight, layer.gl2.bias)


@pytest.mark.parametrize(('channels', 'size'), [(12, 3), (8, 8), (6, 1), (64, 4)])
def test_a_grouped_linear_layer_by_hand(channels: int, size: int) -> None:
    layer = GroupedLinear(channels, size)
    assert sum(p.numel() for p in layer.parameters()) == channels + channels // size
    assert 0 < layer.weight.abs().max() < 0.05 and (layer.bias == 0).all()
    layer, x = randomised(layer), torch.randn(5, channels, dtype=torch.float64)
    torch.testing.assert_close(layer(x), groups_by_hand(x, layer.weight, layer.bias))
    torch.testing.assert_close(layer(x.reshape(5, 1, 1, -1)), layer(x).reshape(5, 1, 1, -1))
    assert layer(x[:0]).shape == (0, channels // size)


@pytest.mark.parametrize(('dim', 'ratio'), [(4, 4), (6, 1), (2, 8), (64, 4)])
def test_the_parameters_of_dfc(dim: int, ratio: int) -> None:
    hidden, half = dim * ratio, dim // 2
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in DFC(dim, hidden).named_children()}
    assert counts == {
        'gl1': hidden + half,
        'gate': half * hidden + hidden,
        'drop': 0,
        'gl2': hidden + dim,
    }
    mlp = DfcMlp(dim, dim * ratio)
    assert sum(p.numel() for p in mlp.parameters()) == sum(counts.values()) + dim * hidden + hidden


@pytest.mark.parametrize('ratio', [1, 2, 4, 8])
def test_dfc_by_hand(ratio: int) -> None:
    layer, x = randomised(DFC(6, 6 * ratio)), torch.randn(4, 6 * ratio, dtype=torch.float64)
    expected = dfc_by_hand(layer, x)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x.reshape(2, 2, -1)), expected.reshape(2, 2, -1))
    assert layer(x[:0]).shape == (0, 6)


def test_known_gates_give_a_known_function() -> None:
    dim, hidden = 4, 16
    layer, x = DFC(dim, hidden).double(), torch.randn(7, hidden, dtype=torch.float64)
    nn.init.zeros_(layer.gate.weight)
    nn.init.ones_(layer.gl2.weight)
    nn.init.constant_(layer.gate.bias, 3.0)  # a constant gate: channels pass as they are, times 3
    torch.testing.assert_close(layer(x), 3 * x.reshape(7, dim, 4).sum(2))
    # The first channel of a group makes its sum, which gates all eight of its channels: h_i times h_first.
    nn.init.zeros_(layer.gl1.weight)
    nn.init.ones_(layer.gl1.weight[:, 0])
    nn.init.zeros_(layer.gate.bias)
    with torch.no_grad():
        layer.gate.weight.copy_(torch.eye(2).repeat_interleave(8, 0))
    first = x.reshape(7, 2, 8)[:, :, :1]
    torch.testing.assert_close(layer(x), (x.reshape(7, 2, 8) * first).reshape(7, dim, 4).sum(2))
    nn.init.zeros_(layer.gl2.weight)
    nn.init.ones_(layer.gl2.weight[::2, 0])  # so of that the squares of the first channels alone
    torch.testing.assert_close(layer(x)[:, ::2], first[:, :, 0] ** 2)


@pytest.mark.parametrize('layer', [GroupedLinear(12, 3), DFC(4, 16)], ids=['GroupedLinear', 'DFC'])
def test_gradients(layer: nn.Module) -> None:
    layer = randomised(copy.deepcopy(layer))
    channels = 12 if isinstance(layer, GroupedLinear) else 16
    x = torch.randn(2, 3, channels, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    inputs = (x, *(p.detach().requires_grad_() for p in layer.parameters()))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)
    by_image = torch.func.vmap(torch.func.grad(lambda one: function(one, *inputs[1:]).pow(2).sum()))(x.detach())
    (whole,) = torch.autograd.grad(layer(x).pow(2).sum(), x)
    torch.testing.assert_close(by_image, whole)


class _Sizes(TorchDispatchMode):
    """How many numbers each operator writes that returns a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        out = function(*args, **(kwargs or {}))
        views = any(argument.alias_info is not None for argument in function._schema.returns)
        if isinstance(out, Tensor) and not views and function.overloadpacket is not torch.ops.aten._unsafe_view:
            self.written.append(out.numel())
        return out


def test_no_full_size_tensor_comes_between() -> None:
    layer, tokens, channels = GroupedLinear(64, 4), 100, 64
    x = torch.randn(tokens, channels, requires_grad=True)
    with _Sizes() as forward:
        out = layer(x)
    assert max(forward.written) == out.numel() == tokens * channels // 4
    with _Sizes() as backward:
        out.backward(torch.ones_like(out))
    assert [size for size in backward.written if size >= tokens * channels] == [x.numel()]  # the gradient itself


def test_dfc_keeps_its_input_and_its_gates_alone() -> None:
    layer, tokens, hidden = DFC(16, 64), 500, 64
    x = torch.randn(tokens, hidden, requires_grad=True)
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().size() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), _Sizes() as forward:
        out = layer(x)
    assert sorted(kept.values())[-2:] == [tokens * hidden] * 2  # hidden features and gates
    assert sum(size >= tokens * hidden for size in kept.values()) == 2
    assert [size for size in forward.written if size >= tokens * hidden] == [tokens * hidden]  # the gates
    with _Sizes() as backward:
        out.sum().backward()
    # of the gates, of the hidden features on two ways, and their sum
    assert sum(size >= tokens * hidden for size in backward.written) == 4


def test_hooks_see_the_gates() -> None:
    layer, x = randomised(DFC(6, 24)), torch.randn(3, 24, dtype=torch.float64)
    plain = layer(x)
    seen = {}
    layer.gate.register_forward_hook(lambda module, args, out: seen.update(gates=out))
    layer.gl2.register_forward_hook(lambda module, args, out: seen.update(gated=args[0], out=out))
    torch.testing.assert_close(layer(x), plain)
    torch.testing.assert_close(seen['gated'], seen['gates'] * x)
    torch.testing.assert_close(seen['gates'], layer.gate(groups_by_hand(x, layer.gl1.weight, layer.gl1.bias)))


def test_what_somebody_puts_in_their_places_is_called() -> None:
    x = torch.randn(3, 24, dtype=torch.float64)
    for name in ('gate', 'gl2'):
        layer = randomised(DFC(6, 24))
        expected = layer(x)
        setattr(layer, name, nn.Sequential(getattr(layer, name)))
        torch.testing.assert_close(layer(x), expected)
        getattr(layer, name).append(nn.Tanh())
        assert not torch.allclose(layer(x), expected)


def test_one_token_without_a_batch() -> None:
    layer, x = randomised(DFC(6, 24)), torch.randn(2, 24, dtype=torch.float64)
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: GroupedLinear(10, 0), 'groups of 0'),
        (lambda: GroupedLinear(10, 3), 'groups of 3'),
        (lambda: GroupedLinear(0, 1), '0 channels'),
        (lambda: DFC(0, 0), 'dim must be even'),
        (lambda: DFC(4, 10), 'hidden=10 a multiple'),
        (lambda: GroupedLinear(8, 4)(torch.ones(2, 4)), r'Expected 8 channels .* \(2, 4\)'),
    ],
)
def test_sizes_that_cannot_be(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_dropout_acts_on_gated_channels_and_on_what_comes_out() -> None:
    mlp, x = randomised(DfcMlp(6, 24, drop=0.5)), torch.randn(400, 6, dtype=torch.float64)
    mlp.eval()
    expected = dfc_by_hand(mlp.dfc, mlp.fc1(x))
    torch.testing.assert_close(mlp(x), expected)
    mlp.train()
    torch.manual_seed(0)
    out = mlp(x)
    assert 0.4 < (out == 0).double().mean() < 0.6
    torch.manual_seed(0)
    hidden = mlp.fc1(x)
    gated = F.dropout(mlp.dfc.gate(mlp.dfc.gl1(hidden)) * hidden, 0.5)
    torch.testing.assert_close(out, F.dropout(mlp.dfc.gl2(gated), 0.5))


@pytest.mark.parametrize('compiled', [False, True])
def test_compilers_and_tracers_get_the_same(compiled: bool) -> None:
    layer, x = randomised(DFC(8, 32)), torch.randn(2, 5, 32, dtype=torch.float64, requires_grad=True)
    if compiled:
        function = torch.compile(layer, backend='eager', fullgraph=True)
    else:
        function = torch.jit.trace(layer, x.detach(), check_trace=False)
    torch.testing.assert_close(function(x), layer(x))
    theirs, ours = (torch.autograd.grad(f(x).pow(2).sum(), x)[0] for f in (function, layer))
    torch.testing.assert_close(theirs, ours)


def test_autocast() -> None:
    mlp = DfcMlp(16, 64)
    x = torch.randn(9, 16, requires_grad=True)
    with torch.no_grad():
        mlp.dfc.gate.bias.fill_(1.0)
    exact = mlp(x)
    (gradient,) = torch.autograd.grad(exact.sum(), x)
    with torch.autocast('cpu', torch.bfloat16):
        out = mlp(x)
    assert out.dtype == torch.bfloat16
    (rounded,) = torch.autograd.grad(out.float().sum(), x)
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(rounded, gradient, rtol=0.05, atol=0.1)


@pytest.mark.parametrize('relu', [False, True])
def test_the_depthwise_convolution_stays_where_it_is(relu: bool) -> None:
    mlp = randomised(DfcMlp(4, 32, conv=True, relu_before_conv=relu))
    x = torch.randn(2, 9, 7, 4, dtype=torch.float64)
    hidden = mlp.fc1(x).permute(0, 3, 1, 2)
    hidden = F.conv2d(hidden.relu() if relu else hidden, mlp.dwconv.weight, mlp.dwconv.bias, padding=1, groups=32)
    expected = dfc_by_hand(mlp.dfc, hidden.permute(0, 2, 3, 1).reshape(-1, 32)).reshape(2, 9, 7, 4)
    torch.testing.assert_close(mlp(x), expected)
    with torch.no_grad():
        wide = torch.randn(1, 64, 512, 4, dtype=torch.float64)  # several row chunks, as there are no gradients
        in_chunks = mlp.eval()(wide)
    torch.testing.assert_close(in_chunks, mlp(wide))
    calls = []
    mlp.dfc.gate.register_forward_hook(lambda module, args, out: calls.append(out.shape))
    with torch.no_grad():
        mlp(wide)
    assert calls == [(1, 64, 512, 32)]  # hooks see the whole map, once
