"""The forms of attention and MLP that a search has, against a slow re-computation with plain parts."""

import pytest
import torch
from plain_layers import assert_same_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from ss_backbones.layers import Attention, Mlp, SelfAttention, SharedConvMixer, WindowAttention
from ss_backbones.layers.gates import START, branch_gates, expected, make_draws, sample
from ss_backbones.layers.search_mixer import searched_mixer
from ss_backbones.layers.search_mlp import SearchMlp
from ss_backbones.networks import Swin, ViT

DIM, HEADS, GRID = 12, 3, (4, 6)
STATES = {'skip': (-1, 1, 1), 'conv1x1': (1, -1, 1), 'conv3x3': (1, 1, -1), 'attention': (1, 1, 1)}


def straight(thresholds: Tensor, draws: Tensor) -> Tensor:
    """The paper's relaxed samples with the probability written out, and the hard ones before them."""
    p = 1 / (1 + (-thresholds).exp())
    soft = torch.sigmoid((draws / (1 - draws)).log() + (p / (1 - p)).log())
    return (soft > 0.5).double().detach() - soft.detach() + soft


def slow_gates(thresholds: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    g = [*torch.cumprod(straight(thresholds, draws), dim=0)]
    if g[0] > 0.5 and g[1] > 0.5:
        g[0] = g[0].detach()
        if g[2] > 0.5:
            g[1] = g[1].detach()
    return g[2], g[1] * (1 - g[2]), g[0] * (1 - g[1]) * (1 - g[2])


@pytest.mark.parametrize('on', [(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)])
def test_the_gates_of_the_branches_and_their_gradients(on: tuple[int, ...]) -> None:
    thresholds = torch.tensor([0.3, -0.2, 0.7], dtype=torch.float64, requires_grad=True)
    draws = torch.where(torch.tensor(on) > 0, 0.8, 0.2).double()
    ours, theirs = branch_gates(sample(thresholds, draws)), slow_gates(thresholds, draws)
    count = 0 if not on[0] else 1 if not on[1] else 2 if not on[2] else 3
    assert [gate.item() for gate in ours] == [float(count == 3), float(count == 2), float(count == 1)]
    weights = torch.tensor([1.0, 0.3, -2.0], dtype=torch.float64)  # what the outputs of the branches are worth
    sums = [torch.stack(gates) @ weights for gates in (ours, theirs)]
    grads = [torch.autograd.grad(total, thresholds)[0] for total in sums]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-14)
    assert grads[0].any() or on == (0, 0, 0) or not on[0]


def test_what_a_cost_sees_of_the_gates() -> None:
    thresholds = torch.tensor([1.5, -0.1, 0.1], dtype=torch.float64, requires_grad=True)
    gates = expected(thresholds)
    assert gates.tolist() == [1, 0, 1]
    gates.sum().backward()
    p = torch.sigmoid(thresholds.detach())
    soft = torch.sigmoid(p - 0.5)
    torch.testing.assert_close(thresholds.grad, soft * (1 - soft) * p * (1 - p))


def test_draws() -> None:
    draws = make_draws(20000, 7)
    assert torch.equal(draws, make_draws(20000, 7)) and not torch.equal(draws, make_draws(20000, 8))
    on = sample(torch.full((20000,), START), draws).mean().item()
    assert abs(on - 0.8176) < 0.01 and draws.min() > 0 and draws.max() < 1


def attention(kind: type[Attention], **options: object) -> Attention:
    if kind is SelfAttention:
        return SelfAttention(DIM, HEADS, options.pop('head_dim', DIM // HEADS), **options)
    layout = dict(window_size=(2, 3), scale=0.5)
    return WindowAttention(DIM, HEADS, options.pop('head_dim', DIM // HEADS), **layout, **options)


def conv_twin(searched: Attention, side: int) -> SharedConvMixer:
    twin = SharedConvMixer(DIM, HEADS, side, searched.mixing).to(searched.proj.weight)
    start = 2 * DIM
    own = searched.state_dict()
    weights = {key: own[key] for key in twin.state_dict() if key in own}
    weights |= {'v.weight': own['qkv.weight'][start:], 'v.bias': own['qkv.bias'][start:]}
    twin.load_state_dict(weights)
    return twin.train(searched.training)


def in_windows(mixer: nn.Module, x: Tensor, shifted: bool) -> Tensor:
    """Each window of 2 x 3 by itself; a shift of (1, 1) goes round."""
    rolled = x.roll((-1, -1), (1, 2)) if shifted else x
    batch = x.shape[0]
    parts = rolled.reshape(batch, 2, 2, 2, 3, DIM).permute(0, 1, 3, 2, 4, 5).reshape(-1, 2, 3, DIM)
    out = mixer(parts).reshape(batch, 2, 2, 2, 3, DIM).permute(0, 1, 3, 2, 4, 5).reshape(x.shape)
    return out.roll((1, 1), (1, 2)) if shifted else out


def noise(module: nn.Module) -> nn.Module:
    for name, tensor in module.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 2)
        elif name.endswith('head_probs'):
            tensor.normal_(1, 0.02)
        elif tensor.is_floating_point() and not name.endswith('thresholds'):
            tensor.normal_(std=0.5)
    return module


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('choice', STATES)
@pytest.mark.parametrize('kind', ['global', 'windows', 'plain', 'shifted'])
def test_the_searched_attention(kind: str, choice: str, training: bool) -> None:
    if kind in ('global', 'windows'):
        options = dict(window_size=3) if kind == 'windows' else {}
        dense, network = attention(SelfAttention, **options), ViT
        x = torch.randn(2, 1 + GRID[0] * GRID[1], DIM, dtype=torch.float64)
        layout = (GRID,)
    else:
        dense, network = attention(WindowAttention, shifted=kind == 'shifted'), Swin
        x, layout = torch.randn(2, *GRID, DIM, dtype=torch.float64), ()
    noise(dense.double())
    expected_attention = dense(x, *layout)
    searched = searched_mixer(dense.train(training), network.head_mixing)
    noise_of_more = {key: value for key, value in searched.state_dict().items() if key.startswith(('bn', 'head_probs'))}
    for name, value in noise_of_more.items():
        if value.is_floating_point():
            value.uniform_(0.9, 1.1) if 'head_probs' in name else value.uniform_(0.5, 2)
    # in training what is drawn decides, and in evaluation the thresholds alone
    signs = torch.tensor(STATES[choice], dtype=torch.float64)
    if training:
        searched.kernel_thresholds.data.copy_(-0.1 * signs)
        searched.draws.copy_(0.5 + 0.2 * signs)
    else:
        searched.kernel_thresholds.data.copy_(0.1 * signs)
        searched.draws.fill_(0.01)
    conv1, conv3 = conv_twin(searched, 1), conv_twin(searched, 3)
    wide = in_windows(conv3, x, kind == 'shifted') if network is Swin else conv3(x, *layout)
    branches = {
        'skip': torch.zeros_like(x),
        'conv1x1': conv1(x, *layout),
        'conv3x3': wide,
        'attention': expected_attention,
    }
    out = searched(x, *layout)
    torch.testing.assert_close(out, branches[choice], rtol=1e-10, atol=1e-10)
    assert training or searched.choice == choice
    if training:  # the whole gradient of the thresholds, from all three branches
        gates = slow_gates(searched.kernel_thresholds, searched.draws)
        slow = sum(
            g * branches[name].detach() for g, name in zip(gates, ('attention', 'conv3x3', 'conv1x1'), strict=True)
        )
        weight = torch.randn_like(x)
        ours, theirs = (
            torch.autograd.grad((o * weight).sum(), searched.kernel_thresholds)[0] for o in (searched(x, *layout), slow)
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('bypass', [0, 3])
@pytest.mark.parametrize('act', ['GELU', 'ReLU'])
def test_the_searched_mlp(act: str, bypass: int, training: bool) -> None:
    mlp = noise(Mlp(DIM, 20, act=act, bypass=bypass, ramp=2.0, ramp_as='bias').double()).train(training)
    x = torch.randn(2, 5, DIM, dtype=torch.float64)
    whole = mlp(x)
    mlp = SearchMlp(mlp)
    torch.testing.assert_close(mlp(x), whole)
    mlp.ffn_thresholds.data.normal_()
    mlp.draws.uniform_(0.01, 0.99)
    draws = mlp.draws if training else torch.full_like(mlp.draws, 0.5)

    def slowly(x: Tensor) -> Tensor:
        hidden = F.linear(x, mlp.fc1.weight, mlp.fc1.bias)
        hidden = F.gelu(hidden) if act == 'GELU' else hidden.clamp(min=0)
        gates = straight(mlp.ffn_thresholds, draws)
        columns = [gates[i] * hidden[..., i, None] * mlp.fc2.weight[:, i] for i in range(20 - bypass)]
        out = sum(columns) + mlp.fc2.bias
        return torch.cat((out, hidden[..., 20 - bypass :] + mlp.bypass_bias), -1) if bypass else out

    inputs = [mlp.ffn_thresholds, *mlp.fc1.parameters(), *mlp.fc2.parameters()]
    assert_same_gradients(mlp(x), slowly(x), inputs, tolerance=1e-9)
    on = (mlp.ffn_thresholds > 0).nonzero().flatten().tolist()
    assert mlp.kept().tolist() == [*on, *range(20 - bypass, 20)]
    mlp.ffn_thresholds.data.copy_(-1 - torch.arange(20.0 - bypass).roll(4))
    assert mlp.kept().tolist() == [4, *range(20 - bypass, 20)]


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda: searched_mixer(nn.Identity(), ViT.head_mixing), 'Identity cannot be searched'),
        (lambda: searched_mixer(attention(SelfAttention, head_dim=5), ViT.head_mixing), 'needs attn_ratio up to 1'),
        (lambda: SearchMlp(Mlp(DIM, 20, ramp=1.0)), "fixed ramp.*Build the network with ramp='bias'"),
        (lambda: SearchMlp(Mlp(DIM, 20, conv=True)), 'without a convolution'),
    ],
)
def test_what_cannot_be_searched(make: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_layers_that_were_replaced_cannot_be_searched() -> None:
    changed = attention(SelfAttention)
    changed.qkv.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match='other layers than plain linear ones'):
        searched_mixer(changed, ViT.head_mixing)
