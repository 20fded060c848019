"""Linear attention against loops over images, heads, tokens and channels; and that it does not grow or overflow."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from plain_layers import assert_same_gradients
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ss_backbones.layers import UfoAttention, XNorm
from ss_backbones.layers.linear_attention import PROJECTIONS

READINGS = list(itertools.product(PROJECTIONS, ('key', 'value'), (False, True)))
EPS = 1e-12


def make(
    dim: int = 6, heads: int = 2, width: int = 3, dtype: torch.dtype = torch.float64, **options: object
) -> UfoAttention:
    """With scales and biases that are not those of a new one, where a mix-up would hide."""
    attn = UfoAttention(dim, heads, width, **options)
    for parameter in attn.parameters():
        nn.init.normal_(parameter, 0.5, 0.5)
    return attn.to(dtype)


def inputs_by_channel(attn: UfoAttention, token: Tensor, head: int) -> list[list[Tensor]]:
    """Query, key and value of a token in a head, channel by channel, by the layers' weights."""
    width, total = attn.head_dim, attn.num_heads * attn.head_dim
    if attn.projections == 'heads':
        share = len(token) // attn.num_heads
        own = token[head * share : (head + 1) * share]
        return [
            [layer.weight[head, i] @ own + layer.bias[head * width + i] for i in range(width)]
            for layer in (attn.q, attn.k, attn.v)
        ]
    if attn.projections == 'qkv':
        layers = [(attn.qkv, 0), (attn.qkv, total), (attn.qkv, 2 * total)]
    else:
        layers = [(attn.q, 0), (attn.kv, 0), (attn.kv, total)]
    rows = [(layer, first + head * width) for layer, first in layers]
    return [[layer.weight[first + i] @ token + layer.bias[first + i] for i in range(width)] for layer, first in rows]


def over_norm(values: list[Tensor], gamma: Tensor) -> list[Tensor]:
    norm = sum(value * value for value in values).sqrt()
    return [gamma * value / max(norm, EPS) for value in values]


def plainly(attn: UfoAttention, x: Tensor) -> Tensor:
    """Tokens (B, N, C), one by one."""
    width = range(attn.head_dim)
    gammas = attn.q_norm.gamma, (attn.q_norm if attn.kv_norm is None else attn.kv_norm).gamma
    images = []
    for image in x:
        mixed: list[list[Tensor]] = [[] for _ in image]
        for head in range(attn.num_heads):
            parts = [inputs_by_channel(attn, token, head) for token in image]
            kv = [[sum(k[i] * v[j] for _, k, v in parts) for j in width] for i in width]
            if attn.kv_axis == 'key':
                columns = [over_norm([kv[i][j] for i in width], gammas[1][head]) for j in width]
                kv = [[columns[j][i] for j in width] for i in width]
            else:
                kv = [over_norm(row, gammas[1][head]) for row in kv]
            for token, (q, _, _) in zip(mixed, parts, strict=True):
                q = over_norm(q, gammas[0][head])
                token += [sum(q[i] * kv[i][j] for i in width) for j in width]
        rows = torch.stack([torch.stack(token) for token in mixed])
        past = int(len(rows) * attn.token_bypass)
        kept = rows[: len(rows) - past] @ attn.proj.weight.T + attn.proj.bias
        images.append(torch.cat((kept, rows[len(rows) - past :])) if past else kept)
    return torch.stack(images)


def by_layers(attn: UfoAttention, x: Tensor) -> Tensor:
    """With a hook at a layer, so that every layer is called."""
    handle = attn.proj.register_forward_hook(lambda *_: None)
    out = attn(x)
    handle.remove()
    return out


BOTH_WAYS = pytest.mark.parametrize('way', [UfoAttention.__call__, by_layers], ids=['at once', 'by layers'])
Way = Callable[[UfoAttention, Tensor], Tensor]


@BOTH_WAYS
@pytest.mark.parametrize('tokens', [1, 7])
@pytest.mark.parametrize(('projections', 'kv_axis', 'share_gamma'), READINGS)
def test_every_reading(projections: str, kv_axis: str, share_gamma: bool, tokens: int, way: Way) -> None:
    attn = make(projections=projections, kv_axis=kv_axis, share_gamma=share_gamma)
    assert sum(isinstance(layer, XNorm) for layer in attn.modules()) == 2 - share_gamma
    x = torch.randn(2, tokens, 6, dtype=torch.float64, requires_grad=True)
    assert_same_gradients(way(attn, x), plainly(attn, x), [x, *attn.parameters()], 1e-12)


@BOTH_WAYS
@pytest.mark.parametrize(('width', 'bypass'), [(2, 0.0), (4, 0.0), (3, 0.25), (3, 0.6)])
@pytest.mark.parametrize('projections', PROJECTIONS)
def test_widths_and_the_bypass(projections: str, width: int, bypass: float, way: Way) -> None:
    attn = make(width=width, projections=projections, token_bypass=bypass)
    x = torch.randn(2, 9, 6, dtype=torch.float64, requires_grad=True)
    assert_same_gradients(way(attn, x), plainly(attn, x), [x, *attn.parameters()], 1e-12)


def test_the_defaults_are_the_readings_that_the_docstring_names() -> None:
    attn, told = UfoAttention(6, 2, 3), make(projections='heads', kv_axis='key', share_gamma=False)
    told.load_state_dict(attn.double().state_dict())
    x = torch.randn(1, 13, 6, dtype=torch.float64)
    assert torch.equal(attn(x), told(x))
    assert attn.q_norm.gamma.tolist() == attn.kv_norm.gamma.tolist() == [1.0] * 2


@BOTH_WAYS
def test_outputs_are_cosines(way: Way) -> None:
    attn = UfoAttention(6, 2, 3, projections='qkv').double()
    nn.init.eye_(attn.proj.weight)
    nn.init.zeros_(attn.proj.bias)
    x = torch.randn(2, 13, 6, dtype=torch.float64)
    q, k, v = (part.unflatten(2, (2, 3)).transpose(1, 2) for part in attn.qkv(x).chunk(3, dim=-1))
    columns = (k.transpose(2, 3) @ v).transpose(2, 3)
    cosines = F.cosine_similarity(q[:, :, :, None], columns[:, :, None], dim=-1, eps=EPS)
    torch.testing.assert_close(way(attn, x), cosines.transpose(1, 2).flatten(2), rtol=1e-12, atol=1e-12)


@BOTH_WAYS
@pytest.mark.parametrize('projections', PROJECTIONS)
def test_gradients_are_those_of_differences(projections: str, way: Way) -> None:
    attn = make(4, 2, 2, projections=projections, token_bypass=0.25)
    names, parameters = zip(*attn.named_parameters(), strict=True)
    if way is by_layers:
        attn.proj.register_forward_hook(lambda *_: None)

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(attn, dict(zip(names, parameters, strict=True)), (x,))

    x = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (x, *(parameter.detach().requires_grad_() for parameter in parameters)))


@BOTH_WAYS
@pytest.mark.parametrize('projections', PROJECTIONS)
def test_tokens_in_another_order_are_the_same_tokens(projections: str, way: Way) -> None:
    attn, x, order = make(projections=projections), torch.randn(2, 30, 6).double(), torch.randperm(30)
    torch.testing.assert_close(way(attn, x[:, order]), way(attn, x)[:, order], rtol=1e-12, atol=1e-12)


@BOTH_WAYS
@pytest.mark.parametrize('projections', PROJECTIONS)
def test_maps_are_tokens_in_rows_and_images_are_alone(projections: str, way: Way) -> None:
    attn, x = make(projections=projections, token_bypass=0.25), torch.randn(3, 5, 7, 6, dtype=torch.float64)
    out = way(attn, x)
    torch.testing.assert_close(out.flatten(1, 2), way(attn, x.flatten(1, 2)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(out, torch.cat([way(attn, image[None]) for image in x]), rtol=1e-12, atol=1e-12)
    turned = x.transpose(1, 2).contiguous().transpose(1, 2)  # the same map in another order of memory
    torch.testing.assert_close(way(attn, turned), out, rtol=1e-12, atol=1e-12)


@BOTH_WAYS
@pytest.mark.parametrize('shape', [(2, 0, 6), (0, 20, 6), (0, 5, 7, 6), (2, 0, 7, 6)], ids=str)
@pytest.mark.parametrize('projections', PROJECTIONS)
def test_no_tokens_and_no_images(projections: str, shape: tuple[int, ...], way: Way) -> None:
    attn, x = make(projections=projections, token_bypass=0.25), torch.zeros(shape, dtype=torch.float64)
    out = way(attn, x.requires_grad_())
    assert out.shape == shape
    out.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in attn.parameters())


@BOTH_WAYS
@pytest.mark.parametrize('projections', PROJECTIONS)
@pytest.mark.parametrize('scale', [0.0, 1e-30, 1e-12])
def test_nothing_to_normalise_gives_numbers(scale: float, projections: str, way: Way) -> None:
    attn = make(projections=projections, dtype=torch.float32)
    for name, parameter in attn.named_parameters():
        if name.endswith('bias'):
            nn.init.zeros_(parameter)
    x = torch.full((1, 20, 6), scale, requires_grad=True)
    out = way(attn, x)
    out.square().sum().backward()
    assert out.isfinite().all() and (scale or not out.any())
    assert x.grad.isfinite().all() and all(parameter.grad.isfinite().all() for parameter in attn.parameters())


# half precision


def test_norms_of_half_numbers_are_made_in_float32() -> None:
    norm = XNorm(2)
    x = torch.randn(1, 2, 5, 64) * torch.tensor([1e4, 1e-4])[:, None, None]  # whose norms have no place in float16
    for dtype in (torch.float16, torch.bfloat16):
        half = x.to(dtype)
        exact = F.normalize(half.double(), dim=-1).to(dtype)
        out = norm(half, -1)
        assert out.dtype == dtype
        torch.testing.assert_close(out, exact, rtol=2 * torch.finfo(dtype).eps, atol=0)
    assert norm.double()(x.double(), -2).dtype == torch.float64
    torch.testing.assert_close(norm(x.double(), -2), F.normalize(x.double(), dim=-2), rtol=1e-14, atol=0)


@pytest.mark.parametrize('kv_axis', ['key', 'value'])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)], ids=str)
@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_is_near_float32_for_a_large_map(
    dtype: torch.dtype, tolerance: float, autocast: bool, kv_axis: str
) -> None:
    torch.manual_seed(0)
    # queries, keys and values to some hundreds, of 134,400 tokens that have something in common
    attn = UfoAttention(16, 2, 8, projections='q+kv', kv_axis=kv_axis)
    x = (torch.randn(1, 336, 400, 16) * 20 + torch.linspace(-30, 30, 16)).to(dtype).float()
    for parameter in attn.parameters():
        parameter.data.copy_(torch.randn_like(parameter).to(dtype))
    with torch.no_grad():
        assert attn.kv(x).abs().max() > 300
        exact = attn.double()(x.double())
        attn.float()
        if autocast:
            with torch.autocast('cpu', dtype):
                out = attn(x)
        else:
            out = attn.to(dtype)(x.to(dtype))
    assert out.dtype == dtype and out.isfinite().all()
    assert (out.double() - exact).norm() < tolerance * exact.norm()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_a_training_step_in_half_precision(dtype: torch.dtype) -> None:
    attn = make(projections='qkv', dtype=torch.float32)
    x = torch.randn(2, 400, 6, requires_grad=True)
    grads = []
    for enabled in (False, True):
        with torch.autocast('cpu', dtype, enabled=enabled):
            out = attn(x)
        grads.append(torch.autograd.grad(out.float().square().mean(), [x, *attn.parameters()]))
    for exact, half in zip(*grads, strict=True):
        assert half.dtype == torch.float32 and (half - exact).norm() < 0.05 * exact.norm()


# memory


@BOTH_WAYS
@pytest.mark.parametrize('projections', PROJECTIONS)
def test_what_is_kept_for_the_backward_pass_grows_with_the_tokens(projections: str, way: Way) -> None:
    attn, sizes = make(32, 2, 16, projections=projections, dtype=torch.float32), []
    weights = {parameter.untyped_storage().data_ptr() for parameter in attn.parameters()}
    for tokens in (500, 1000, 2000):
        kept: dict[int, int] = {}

        def note(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            out = way(attn, torch.randn(1, tokens, 32))
        sizes.append(sum(kept.values()) / 4)
        del out
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.01)
    # for each token: its channels, the queries, the normalised ones, and three numbers of each of two heads; then,
    # where they are made, keys and values (in two orders of memory, at worst) and what goes into the projection
    least = 32 + 2 * 32 + 3 * 2
    by_the_layers = way is by_layers or projections == 'heads'
    assert (sizes[2] - sizes[1]) / 1000 <= least + by_the_layers * (4 * 32 + 32)


def test_the_largest_tensor_in_between_is_as_large_as_the_tokens() -> None:
    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
            out = func(*args, **(kwargs or {}))
            self.size = max([self.size, *(o.numel() for o in tree_leaves(out))])
            return out

    attn = make(32, 2, 16, projections='q+kv', dtype=torch.float32)
    x = torch.randn(1, 4000, 32)
    for way, widest in ((UfoAttention.__call__, 32), (by_layers, 64)):
        with Largest() as largest:
            way(attn, x).sum().backward()
        assert largest.size <= widest * 4000


# words


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="projections='kv' is not known; take one of heads, qkv"):
        UfoAttention(12, 3, 4, projections='kv')
    with pytest.raises(ValueError, match="kv_axis='keys' is not known; take one of key, value"):
        UfoAttention(12, 3, 4, kv_axis='keys')
    with pytest.raises(ValueError, match='12 channels cannot be shared by 5 heads'):
        UfoAttention(12, 5, 4)


def test_dropout_is_of_the_outputs_alone() -> None:
    x = torch.randn(1, 20, 6, dtype=torch.float64)
    attn = make(projections='qkv', attn_drop=0.5)
    assert torch.equal(attn(x), attn.eval()(x))
    attn = make(projections='qkv', proj_drop=0.5)
    assert math.isclose((attn(x) == 0).double().mean(), 0.5, abs_tol=0.15)
