"""Networks with gates: the official search, what they cost, and the networks that are found."""

import json
from collections.abc import Mapping

import numpy as np
import pytest
import reference
import timm
import torch
from reference import needs_reference
from small_networks import backbone_of, noisy
from torch import nn

from ss_backbones import SSPVTv2, SSXCiT, UFOViT, fold, load_weights
from ss_backbones.networks import Network, Swin, ViT
from ss_backbones.networks.searching import (
    SearchCost,
    draw_gates,
    found_settings,
    found_weights,
    gates,
    is_searched,
    keep_needed_attention,
    search_form,
)

SMALL: dict[type[Network], dict[str, object]] = {
    ViT: dict(arch=dict(embed_dim=12, depth=5, num_heads=3), img_size=48, drop_path_rate=0.0),
    Swin: dict(
        arch=dict(embed_dim=12, depths=(2, 3), num_heads=(1, 3)), window_size=4, out_indices=(0, 1), drop_path_rate=0.0
    ),
}
THRESHOLDS = {'skip': (-1, 1, 1), 'conv1x1': (1, -1, 1), 'conv3x3': (1, 1, -1), 'attention': (1, 1, 1)}
both = pytest.mark.parametrize('network', SMALL, ids=lambda network: network.__name__)


def searched(network: type[Network], settings: object = 'uniform', **options: object) -> Network:
    model = backbone_of(network)(**{**SMALL[network], 'settings': settings, 'ramp': 'bias', **options}).double()
    noisy(model)
    search_form(model)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value in part.state_dict().values():
                if value.is_floating_point():
                    value.uniform_(0.5, 1.5)
        if hasattr(part, 'head_probs'):
            part.head_probs.data.uniform_(0.98, 1.02)
    return model.eval()


def choose(model: Network, mixers: list[str], hidden: Mapping[int, int] | None = None) -> None:
    """Set the gates."""
    for number, (block, mixer) in enumerate(zip(model.all_blocks(), mixers, strict=True)):
        block.attn.kernel_thresholds.data.copy_(torch.tensor(THRESHOLDS[mixer]))
        if hidden is not None:
            block.mlp.ffn_thresholds.data.copy_(
                torch.where(torch.arange(len(block.mlp.ffn_thresholds)) < hidden[number], 1, -1)
            )


@needs_reference
def test_the_official_search() -> None:
    name = 'spvit_deit_ti_search'
    model = timm.create_model('ss_vit_tiny_patch16_224', settings='uniform').double().eval()
    search_form(model)
    report = load_weights(model, {'model': reference.weights(name, model)})
    assert report.share == 1 and not report.unexpected
    with torch.no_grad():
        for image, logits, features in reference.cases(name):
            np.testing.assert_allclose(model(image).numpy(), logits, rtol=1e-9, atol=1e-11)
            ours = model.forward_tokens(image, after=(0, 1, 6, 11))[1]
            for feature, expected in zip(ours, features, strict=True):
                reference.check(feature, *expected)
    about = json.loads((reference.FOLDER / f'{name}.json').read_text())
    cost, macs = SearchCost.of(model, 224, 224), about['macs']
    assert [int(part) for part in (cost.total(), *cost.parts())] == [macs[key] for key in ('total', 'attn', 'ffn')]
    loss = about['cost_loss']
    ours = loss['loss_lambda'] * (loss['target_G'] - cost.total().item() / 1e9) ** 2
    np.testing.assert_allclose(ours, loss['value_exact_target'], rtol=1e-9)
    words = {'msa': 'attention', '1x1': 'conv1x1', '3x3': 'conv3x3', 'skip': 'skip'}
    found = found_settings(model)
    assert [setting.mixer for setting in found] == [words[choice] for choice in about['msa']]
    assert [setting.hidden for setting in found] == about['ffn_kept']


def test_swins_official_keys() -> None:
    model, other = searched(Swin), searched(Swin)
    theirs = {}
    for key, value in model.state_dict().items():
        start, _, end = key.partition('.attn.')
        if end.startswith('qkv.'):
            third = len(value) // 3
            theirs[f'{start}.attn.qk.{end[4:]}'], theirs[f'{start}.attn.v.{end[4:]}'] = value.split((2 * third, third))
        else:
            theirs[key.replace('kernel_thresholds', 'kernel_thresholds_full')] = value
    report = load_weights(other, {'model': theirs})
    assert report.share == 1 and not report.unexpected
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())


# G multiply-adds of the dense networks by the official formula, as the official code has them
@pytest.mark.parametrize(
    ('name', 'dense'),
    [
        ('ss_vit_tiny_patch16_224', 1.251),
        ('ss_vit_small_patch16_224', 4.587),
        ('ss_vit_base_patch16_224', 17.511),
        ('ss_swin_tiny_patch4_window7_224', 4.494),
        ('ss_swin_small_patch4_window7_224', 8.747),
        ('ss_swin_base_patch4_window7_224', 15.438),
    ],
)
def test_what_dense_networks_cost(name: str, dense: float) -> None:
    with torch.device('meta'):
        model = timm.create_model(name, settings='uniform')
        search_form(model)
    assert round(SearchCost.of(model, 224, 224).dense / 1e9, 3) == dense


@both
@pytest.mark.parametrize('shape', [(48, 48), (50, 41)])
@pytest.mark.parametrize('settings', ['uniform', 'specific'])
def test_the_cost_goes_with_the_gates(network: type[Network], shape: tuple[int, int], settings: str) -> None:
    model = searched(network, settings)
    cost = SearchCost.of(model, *shape)
    assert cost.total().item() == cost.dense
    choose(model, ['skip'] * 5, dict.fromkeys(range(5), 0))
    model.all_blocks()[0].mlp.ffn_thresholds.data[0] = 1
    rest = sum(block.mlp.unit_macs(grid) for block, grid in list(zip(model.all_blocks(), cost.grids, strict=True))[1:])
    assert cost.total().item() + rest == cost.least
    choose(model, ['attention', 'conv3x3', 'conv1x1', 'skip', 'attention'], dict.fromkeys(range(5), 7))
    total = cost.total()
    total.backward()
    # one step at a time, with the surrogate's slope
    block, grid = model.all_blocks()[1], cost.grids[1]
    c1, c3, attention = block.attn.branch_macs(grid, cost._prefix)
    slope = [
        s * (1 - s) * p * (1 - p)
        for p in [torch.sigmoid(torch.tensor(1.0 * t)) for t in (1, 1, -1)]
        for s in [torch.sigmoid(p - 0.5)]
    ]
    by_gate = [c1 + (c3 - c1), c3 - c1, attention - c3]
    expected = torch.stack([s * by for s, by in zip(slope, by_gate, strict=True)])
    torch.testing.assert_close(block.attn.kernel_thresholds.grad, expected.double(), rtol=1e-6, atol=0)
    assert block.mlp.ffn_thresholds.grad.min() > 0


# heads of half the width, with which the first blocks of deep networks have them in the specific setting
NARROW = [dict(attn_ratio=0.5), dict(attn_ratio=0.5, act='ReLU', pos_scale=1.0), *[dict(attn_split=0.25)] * 3]


@both
@pytest.mark.parametrize('settings', ['uniform', 'specific', NARROW], ids=['uniform', 'specific', 'narrow'])
def test_the_found_network_computes_what_the_search_did(network: type[Network], settings: object) -> None:
    model = searched(network, settings)
    mixers = ['conv3x3', 'conv1x1', 'attention', 'conv1x1', 'attention']
    if network is Swin:  # whose 3 x 3 convolutions leave their windows
        mixers[0] = 'conv1x1'
    choose(model, mixers)
    for block in model.all_blocks():
        block.mlp.ffn_thresholds.data.normal_()
    settings = found_settings(model)
    assert [setting.mixer for setting in settings] == mixers
    found = backbone_of(network)(**{**SMALL[network], 'settings': settings}).double().eval()
    weights = found_weights(model)
    assert weights.keys() == found.state_dict().keys()
    assert load_weights(found, weights).share == 1
    x = torch.randn(2, 3, 48, 41, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(found(x), model(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_convolution_inside_one_window_is_that_of_the_whole_map() -> None:
    model = searched(Swin)
    choose(model, ['conv3x3'] * 5)
    found = backbone_of(Swin)(**{**SMALL[Swin], 'settings': found_settings(model)}).double().eval()
    load_weights(found, found_weights(model))
    x = torch.randn(2, 3, 15, 16, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(found(x), model(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@both
def test_skipped_blocks_have_no_attention(network: type[Network]) -> None:
    model = searched(network, 'specific')
    choose(model, ['skip'] * 5)
    settings = found_settings(model)
    assert all(setting.mixer == 'skip' and setting.pos_scale == 0 for setting in settings)
    found = backbone_of(network)(**{**SMALL[network], 'settings': settings}).double().eval()
    assert load_weights(found, found_weights(model)).share == 1
    assert found_weights(model).keys() == found.state_dict().keys()


def test_one_attention_stays_for_the_class_token() -> None:
    arch = dict(embed_dim=12, depth=3, num_heads=3)
    model = timm.create_model('ss_vit_tiny_patch16_224', arch=arch, img_size=48, settings='uniform', ramp='bias')
    search_form(model)
    cost, blocks = SearchCost.of(model, 48, 48), model.all_blocks()
    choose(model, ['skip', 'attention', 'skip'])
    assert keep_needed_attention(model) is None
    for block, off in zip(blocks, (-2.0, -0.5, -1.0), strict=True):
        block.attn.kernel_thresholds.data.copy_(torch.tensor([1.0, off, 2.0]))
        block.mlp.ffn_thresholds.data.fill_(-1.0).select(0, 0).fill_(1.0)
    blocks[1].attn.kernel_thresholds.requires_grad_(False)  # as a frozen block's are
    assert keep_needed_attention(model) == 2
    assert [block.attn.choice for block in blocks] == ['conv1x1', 'conv1x1', 'attention']
    assert blocks[2].attn.kernel_thresholds.tolist() == pytest.approx([1.0, 0.01, 2.0])
    choose(model, ['skip', 'skip', 'attention'])
    assert int(cost.total()) == cost.least
    backbone = searched(ViT)
    choose(backbone, 5 * ['skip'])
    assert keep_needed_attention(backbone) is None and 'attention' not in {b.attn.choice for b in backbone.all_blocks()}


@both
def test_blocks_that_are_not_built(network: type[Network]) -> None:
    options = dict(out_indices=(0,)) if network is Swin else dict(pyramid=False, out_indices=(1,))
    model = searched(network, **options)
    choose(model, ['conv1x1', 'skip'])
    settings = found_settings(model)
    assert [s.mixer for s in settings] == ['conv1x1', 'skip', *['attention'] * 3] and settings[4] == model.settings[4]
    assert len(SearchCost.of(model, 48, 48).grids) == 2


@both
def test_all_processes_draw_the_same(network: type[Network]) -> None:
    one, other = searched(network).train(), searched(network).train()
    draws = [module.draws.clone() for module in one.modules() if hasattr(module, 'draws')]
    assert all((draw == 0.5).all() for draw in draws) and not [key for key in one.state_dict() if 'draws' in key]
    torch.manual_seed(1)
    draw_gates(one, 5)
    torch.manual_seed(2)
    draw_gates(other, 5)
    ours, theirs = ([m.draws for m in model.modules() if hasattr(m, 'draws')] for model in (one, other))
    assert all(map(torch.equal, ours, theirs)) and len({draw[0].item() for draw in ours}) == len(ours)
    assert is_searched(one) and len(gates(one)) == 10 == len(ours)


@both
def test_a_recomputed_batch_has_the_same_gates(network: type[Network]) -> None:
    grads = []
    model = searched(network).train()
    draw_gates(model, 3)
    for with_cp in (False, True):
        for module in model.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = with_cp
        model.zero_grad()
        torch.manual_seed(0)
        sum(m.square().mean() for m in model(torch.randn(2, 3, 33, 48, dtype=torch.float64))).backward()
        grads.append({name: value.grad.clone() for name, value in gates(model).items()})
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda: SSPVTv2('b0', 'uniform'), 'SSPVTv2 cannot be searched.*A search is for ViT and Swin'),
        (lambda: SSXCiT('tiny_12', 'uniform'), 'SSXCiT cannot be searched'),
        (lambda: UFOViT('tiny'), 'UFOViT cannot be searched'),
        (lambda: backbone_of(ViT)('tiny', 'uniform', linear_blocks=(3,)), r"settings\[3\] has mixer='ufo'"),
        (lambda: backbone_of(ViT)('tiny', 'uniform', mlp='dfc'), "mlp='dfc' cannot be searched"),
        (lambda: backbone_of(ViT)('tiny', 'specific'), r"settings\[\d\]: The MLP has a fixed ramp.*ramp='bias'"),
        (lambda: backbone_of(ViT)('tiny', 'spvit_deit_ti_l200_t10'), r"settings\[0\] has mixer='conv1x1'"),
    ],
)
def test_what_cannot_be_searched(make: object, text: str) -> None:
    with torch.device('meta'):
        model = make()
        with pytest.raises(ValueError, match=text):
            search_form(model)


@both
def test_gates_are_not_folded(network: type[Network]) -> None:
    with pytest.raises(ValueError, match='has the gates of a search'):
        fold(searched(network))


@both
def test_any_size_and_mixed_precision(network: type[Network]) -> None:
    model = searched(network).float()
    with torch.no_grad():
        for shape in ((0, 3, 40, 40), (1, 3, 1, 1)):
            assert len(model(torch.randn(shape))) == len(model.channels)
    draw_gates(model.train(), 1)
    with torch.autocast('cpu', torch.bfloat16):
        maps = model(torch.randn(2, 3, 64, 50))
    sum(m.float().square().mean() for m in maps).backward()
    assert all(gate.grad.isfinite().all() for gate in gates(model).values())
