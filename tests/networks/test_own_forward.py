"""Every layer works through its own forward: hooks see it, and whatever is put in its place is called.

So adapters, quantisation, pruning, counters of multiply-adds and reparametrisations work as on torch's own layers.
"""

import copy
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from small_networks import CLASSIFIERS, Small, every_classifier, every_network, noisy, outputs
from timm.models.xcit import ClassAttentionBlock
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_full_backward_hook
from torch.nn.utils import parametrizations, prune

from ss_backbones.layers import DfcMlp, LocalBlock, chunking

# timm's class attention hands its probability to the fused product
_OF_A_PRODUCT = ('cls_attn_blocks.0.attn.attn_drop', 'cls_attn_blocks.1.attn.attn_drop')
MODES = pytest.mark.parametrize('mode', ['train', 'eval', 'inference'])


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anybody to see it, small maps are worked on in row chunks too."""
    monkeypatch.setattr(chunking, 'CHUNK_BYTES', 0)


def image(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """What holds parameters or computes: everything without children that is not there for nothing."""
    return {
        name: module
        for name, module in model.named_modules()
        if not list(module.children())
        and not isinstance(module, nn.ModuleList | nn.ModuleDict)
        and not name.endswith(_OF_A_PRODUCT)
    }


def run(model: nn.Module, mode: str) -> list[Tensor]:
    model.train(mode == 'train')
    with torch.set_grad_enabled(mode != 'inference'):
        return outputs(model, image())


def put(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition('.')
    model.get_submodule(parent)._modules[last] = layer


class Same(nn.Module):
    """Another class with the same function, which says nothing of its sizes or weights."""

    def __init__(self, layer: nn.Module, calls: Counter[str], name: str) -> None:
        super().__init__()
        self.inner, self.calls, self.name = layer, calls, name

    def forward(self, *args: Tensor) -> Tensor:
        self.calls[self.name] += 1
        return self.inner(*args)


def same(outs: list[Tensor], others: list[Tensor]) -> None:
    for a, b in zip(outs, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@MODES
@every_network
def test_a_layer_in_anothers_place_is_called(make: Small, mode: str) -> None:
    model = noisy(make()).double()
    expected, calls = run(model, mode), Counter()
    wrapped = copy.deepcopy(model)
    names = [name for name, layer in layers_of(model).items() if list(layer.parameters())]
    for name in names:
        put(wrapped, name, Same(wrapped.get_submodule(name), calls, name))
    same(run(wrapped, mode), expected)
    assert calls == dict.fromkeys(names, 1)


@MODES
@every_network
def test_a_single_layer_in_anothers_place_is_called(make: Small, mode: str) -> None:
    model = noisy(make()).double()
    expected = run(model, mode)
    block = next(name for name, m in model.named_modules() if m is model.all_blocks()[-1])
    names = [name for name, layer in layers_of(model).items() if name.startswith(f'{block}.') and [*layer.parameters()]]
    assert len(names) >= 6
    for name in names:
        calls = Counter()
        layer = model.get_submodule(name)
        put(model, name, Same(layer, calls, name))
        same(run(model, mode), expected)
        assert calls == {name: 1}
        put(model, name, layer)


@MODES
@every_network
def test_hooks_of_all_modules_and_of_each_fire(make: Small, mode: str) -> None:
    model = noisy(make()).double()
    expected = run(model, mode)
    names = {module: name for name, module in model.named_modules()}
    wanted = {name for name, m in model.named_modules() if not isinstance(m, nn.ModuleList | nn.ModuleDict)}
    wanted -= set(_OF_A_PRODUCT)
    seen = Counter()
    hook = register_module_forward_hook(lambda module, args, out: seen.update([names[module]]))
    try:
        same(run(model, mode), expected)
    finally:
        hook.remove()
    assert seen == _as_often(seen, wanted, model)
    each = Counter()
    for module, name in names.items():
        module.register_forward_hook(lambda module, args, out, name=name: each.update([name]))
    same(run(model, mode), expected)
    assert each == seen


def _as_often(seen: Counter[str], wanted: set[str], model: nn.Module) -> dict[str, int]:
    """Once each, but dropout that serves twice in an MLP, and the drop path of a block's branches."""
    branches = {f'{name}.drop_path': 3 if isinstance(m, LocalBlock) else 2 for name, m in model.named_modules()}
    twice = {name: 2 for name in wanted if name.endswith('mlp.drop') and seen[name] == 2}
    drop_paths = {name: branches[name] for name in wanted if name.endswith('.drop_path')}
    return {**dict.fromkeys(wanted, 1), **twice, **drop_paths}


@every_network
def test_backward_hooks_of_all_modules_fire(make: Small) -> None:
    model = noisy(make()).double().train()
    layers = {module: name for name, module in layers_of(model).items() if [*module.parameters()]}
    seen = set()
    hook = register_module_full_backward_hook(lambda module, gi, go: seen.add(layers.get(module)))
    try:
        sum(o.square().sum() for o in outputs(model, image().requires_grad_())).backward()
    finally:
        hook.remove()
    assert set(layers.values()) <= seen


@MODES
@every_network
def test_a_replaced_forward_is_called(make: Small, mode: str) -> None:
    model = noisy(make()).double()
    expected, calls = run(model, mode), Counter()
    layers = {name: layer for name, layer in layers_of(model).items()}
    for name, layer in layers.items():

        def forward(*args: Tensor, name: str = name, old: Callable = layer.forward) -> Tensor:
            calls[name] += 1
            return old(*args)

        layer.forward = forward
    same(run(model, mode), expected)
    assert calls == _as_often(calls, set(layers), model)


class Centred(nn.Module):
    """Looks at the whole map."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=(1, 2), keepdim=True)


def wide(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 5, padding=2, groups=channels, dtype=torch.float64)


@pytest.mark.parametrize('kind', ['convolution', 'wrapped convolution', 'activation'])
@pytest.mark.parametrize('make', [s for s in CLASSIFIERS if hasattr(s().all_blocks()[0].mlp.dwconv, 'weight')], ids=str)
def test_row_chunks_are_for_the_expected_layers_alone(make: Small, kind: str) -> None:
    model = noisy(make()).double()
    for block in model.all_blocks():
        if kind == 'activation' and isinstance(block.mlp, DfcMlp):
            block.mlp.dfc.gate = nn.Sequential(Centred(), block.mlp.dfc.gate)
        elif kind == 'activation':
            block.mlp.act = Centred()
        else:
            conv = wide(block.mlp.hidden)
            block.mlp.dwconv = conv if kind == 'convolution' else nn.Sequential(conv)
    same(run(model, 'inference'), run(model, 'eval'))


def _pruned(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, 'weight', amount=0.4)


REPARAMETRISED: dict[str, Callable[[nn.Module], object]] = {
    'pruned': _pruned,
    'weight norm': parametrizations.weight_norm,
    'weight norm by hooks': nn.utils.weight_norm,
}


@pytest.mark.filterwarnings('ignore::FutureWarning')
@pytest.mark.parametrize('kind', REPARAMETRISED)
@every_classifier
def test_reparametrised_layers_train(make: Small, kind: str) -> None:
    plain = noisy(make()).double().train()
    model = copy.deepcopy(plain)
    names = [n for n, m in plain.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and n != 'head']
    for name in names:
        REPARAMETRISED[kind](model.get_submodule(name))
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    x = image()
    for _ in range(3):
        out = model(x)
        optimiser.zero_grad()
        out.square().sum().backward()
        # the network without reparametrisation, with the weights that these parameters mean, and the chain rule by hand
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                layer, last = model.get_submodule(name.rpartition('.')[0]), name.rpartition('.')[2]
                parameter.copy_(getattr(layer, last))
        plain.zero_grad()
        expected = plain(x)
        expected.square().sum().backward()
        torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
        for name in names:
            layer, wanted = model.get_submodule(name), plain.get_submodule(name).weight.grad
            own = [p for key, p in layer.named_parameters() if 'weight' in key]
            got = [p.grad.clone() for p in own]
            if kind == 'pruned':
                pulled = (wanted * layer.weight_mask,)
            else:
                by_hooks = kind == 'weight norm by hooks'
                meant = torch._weight_norm(layer.weight_v, layer.weight_g, 0) if by_hooks else layer.weight
                pulled = torch.autograd.grad(meant, own, wanted)
            torch.testing.assert_close(got, list(pulled), rtol=1e-8, atol=1e-8)
        optimiser.step()


@every_classifier
def test_dynamic_quantisation_runs(make: Small) -> None:
    model = noisy(make()).eval()
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert not [m for m in quantised.modules() if type(m) is nn.Linear]
    with torch.no_grad():
        ours, exact = quantised(image(torch.float32)), model(image(torch.float32))
    assert (ours - exact).norm() < 0.15 * exact.norm() and not torch.equal(ours, exact)


class Lora(nn.Module):
    """A linear layer with a trained low-rank update, as adapters are."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False, dtype=torch.float64)
        self.up = nn.Linear(rank, base.out_features, bias=False, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))

    def merged(self) -> nn.Linear:
        with torch.no_grad():
            self.base.weight += self.up.weight @ self.down.weight
        return self.base


@every_classifier
def test_low_rank_adapters_learn_and_merge(make: Small) -> None:
    model = noisy(make()).double().train()
    # DFC MLPs have no second linear, so there the gates get the adapters; convolution mixers have none
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    names = [n for n in linear if n.endswith(('mlp.fc2', 'dfc.gate', 'attn.proj', 'mlp.fc1'))]
    for name in names:
        put(model, name, Lora(model.get_submodule(name)))
    model(image()).square().sum().backward()
    adapters = [model.get_submodule(name) for name in names]
    with_proj = sum(2 + (setting.mixer in ('attention', 'ufo')) for setting in model.settings)
    assert len(adapters) == with_proj + 3 * sum(isinstance(m, ClassAttentionBlock) for m in model.modules())
    assert all(a.up.weight.grad.abs().max() > 1e-8 and a.down.weight.grad.abs().max() > 1e-8 for a in adapters)
    for mode in ('eval', 'inference'):
        adapted = run(model, mode)
        merged = copy.deepcopy(model)
        for name in names:
            put(merged, name, merged.get_submodule(name).merged())
        same(run(merged, mode), adapted)
