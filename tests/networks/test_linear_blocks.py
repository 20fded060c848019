"""Which blocks of a network have linear attention, what that costs, and which weights fit."""

import re

import pytest
import timm
import torch
from small_networks import noisy
from torch import nn

from ss_backbones import BlockSetting, SSPVTv2, SSSwin, SSViT, load_weights
from ss_backbones.checkpoints.identification import identify
from ss_backbones.complexity import complexity
from ss_backbones.errors import MismatchError
from ss_backbones.layers import SelfAttention, SpatialReductionAttention, UfoAttention, attention
from ss_backbones.networks import network_in

PVT = dict(embed_dims=(16, 32, 40, 64), depths=(1, 2, 1, 1))
VIT = dict(embed_dim=16, depth=4, num_heads=2)


def pvt(settings: object = 'uniform', **arguments: object) -> SSPVTv2:
    return SSPVTv2(PVT, settings, **arguments)


def vit(settings: object = 'uniform', **arguments: object) -> SSViT:
    return SSViT(VIT, settings, img_size=64, **arguments)


def linear_in(model: nn.Module) -> list[int]:
    return [i for i, block in enumerate(network_in(model).all_blocks()) if isinstance(block.attn, UfoAttention)]


@pytest.mark.parametrize(
    ('given', 'in_pvt', 'in_vit'),
    [
        (None, [], []),
        ((), [], []),
        (0, [0], [0]),
        ([0, 1], [0, 1, 2], [0, 1]),  # as configs have it
        ((-3, -1), [1, 2, 4], [1, 3]),
    ],
)
def test_the_blocks(given: object, in_pvt: list[int], in_vit: list[int]) -> None:
    for model, linear in ((pvt(linear_stages=given), in_pvt), (vit(linear_blocks=given), in_vit)):
        assert linear_in(model) == linear
        assert [i for i, setting in enumerate(model.settings) if setting.mixer == 'ufo'] == linear
    name = 'ss_pvt_v2_b0'
    assert linear_in(timm.create_model(name, arch=PVT, settings='uniform', linear_stages=given)) == in_pvt


def test_it_goes_on_top_of_any_settings() -> None:
    settings = [BlockSetting(mlp_ratio=2 + i, attn_split=0.25) for i in range(4)] + [BlockSetting(mixer='ufo')]
    model = pvt(settings, linear_stages=(1,))
    assert linear_in(model) == [1, 2, 4]
    assert [setting.mlp_ratio for setting in model.settings] == [2, 3, 4, 5, 4]
    assert all(block.attn.token_bypass == 0.25 for block in model.all_blocks()[:-1])
    assert linear_in(vit('specific', linear_blocks=(0, 3))) == [0, 3]
    dicts = [dict(mixer='ufo')] * 2 + [{}] * 2
    one, other = noisy(vit(dicts)).eval(), vit(linear_blocks=(0, 1)).eval()
    other.load_state_dict(one.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(one(x), other(x), strict=True))


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda: pvt(linear_stages=(0, 4)), 'linear_stages=(0, 4): 4 is out of range. There are 4 stages: 0 to 3'),
        (lambda: pvt(linear_stages=(1, 0)), 'linear_stages=(1, 0) must rise'),
        (lambda: pvt(linear_stages='0'), "linear_stages='0' must be a whole number or a list"),
        (lambda: pvt(linear_stages=True), 'linear_stages=True: True is out of range'),
        (lambda: vit(linear_blocks=(-5,)), 'linear_blocks=(-5,): -5 is out of range. There are 4 blocks'),
        (lambda: SSSwin('tiny', [dict(mixer='ufo')] * 12), "mixer='ufo' is not possible in SSSwin"),
    ],
)
def test_bad_arguments(make: object, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


def test_windows_are_for_the_other_blocks() -> None:
    model = vit(linear_blocks=(0, 2), window_size=2, global_blocks=(1,))
    assert [block.attn.window_size for block in model.blocks] == [None, None, None, 2]
    everywhere = dict(linear_blocks=range(4))
    one, other = noisy(vit(**everywhere)).eval(), vit(**everywhere, window_size=2).eval()
    other.load_state_dict(one.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(one(x), other(x), strict=True))


def test_the_layers_are_those_of_the_plain_networks_without_a_reduction() -> None:
    for linear, plain, parts in (
        (pvt(linear_stages=(0,)), pvt(), ('q', 'kv')),
        (vit(linear_blocks=0), vit(), ('qkv',)),
    ):
        ours, theirs = (
            {name: tuple(p.shape) for name, p in model.all_blocks()[0].attn.named_parameters()}
            for model in (linear, plain)
        )
        both = {f'{part}.{kind}' for part in (*parts, 'proj') for kind in ('weight', 'bias')}
        assert ours.keys() == both | {'q_norm.gamma', 'kv_norm.gamma'} and both <= theirs.keys()
        assert all(ours[name] == theirs[name] for name in both)


def macs_of_attention(attn: nn.Module, tokens: int) -> int:
    """By hand."""
    width = attn.num_heads * attn.head_dim
    dim = attn.proj.out_features
    outside = 2 * tokens * dim * width  # queries and the output projection
    if isinstance(attn, UfoAttention):
        return outside + 2 * tokens * dim * width + 2 * tokens * width * attn.head_dim  # keys, values; the two products
    keys, reducing = tokens, 0
    if isinstance(attn, SpatialReductionAttention) and attn.sr is not None:
        keys = tokens // attn.sr_ratio**2
        reducing = keys * attn.sr_ratio**2 * dim * dim
    return outside + reducing + 2 * keys * dim * width + 2 * tokens * keys * width


@pytest.mark.parametrize('settings', ['uniform', 'specific'])
def test_multiply_adds_are_those_of_the_formulas(settings: str) -> None:
    stages = [0, 1, 1, 2, 3]
    for linear, plain, tokens in (
        (pvt(settings, linear_stages=(0, 1)), pvt(settings), [(64 // 4 // 2**stage) ** 2 for stage in stages]),
        (vit(settings, linear_blocks=(1, 3)), vit(settings), [17] * 4),
    ):
        macs = [complexity(model, (1, 3, 64, 64)).macs for model in (linear, plain)]
        counted = [
            sum(macs_of_attention(block.attn, n) for block, n in zip(model.all_blocks(), tokens, strict=True))
            for model in (linear, plain)
        ]
        bypassed = [
            sum(
                block.attn.bypassing(n) * block.attn.proj.weight.numel()
                for block, n in zip(model.all_blocks(), tokens, strict=True)
            )
            for model in (linear, plain)
        ]
        assert macs[0] - macs[1] == counted[0] - bypassed[0] - counted[1] + bypassed[1] != 0


def test_scales_are_not_decayed() -> None:
    for model, others in ((pvt(linear_stages=(0, 1)), set()), (vit(linear_blocks=(0, 1)), {'pos_embed', 'cls_token'})):
        gammas = {name for name, _ in model.named_parameters() if name.endswith('.gamma')}
        assert len(gammas) == 2 * len(linear_in(model))
        assert model.no_weight_decay() == gammas | others


# weights


def test_plain_weights_are_refused_in_words_and_taken_in_part() -> None:
    for model, name, count in (
        (SSPVTv2('b0', 'uniform', linear_stages=(0, 1)), 'pvt_v2_b0', 4),
        (SSViT('tiny', 'uniform', linear_blocks=(2, 5)), 'deit_tiny_patch16_224', 2),
    ):
        theirs = noisy(timm.create_model(name)).state_dict()
        first = linear_in(model)[0]
        words = rf'softmax attention in .*blocks.{first}.attn and {count - 1} more, .* scales'
        with pytest.raises(MismatchError, match=words):
            load_weights(model, theirs)
        report = load_weights(model, theirs, partial=True)
        assert set(report.missing) == {name for name in model.no_weight_decay() if name.endswith('gamma')}
        own = model.state_dict()
        assert all(torch.equal(own[key], theirs[key]) for key in report.matched)
        assert {'proj.weight', 'proj.bias'} <= {key.split('.attn.')[-1] for key in report.matched}
        assert all('.attn.sr.' in key or '.attn.norm.' in key or key.startswith('head.') for key in report.unexpected)


def test_weights_of_linear_attention_are_refused_by_softmax() -> None:
    weights = pvt(linear_stages=(0, 1)).state_dict()
    with pytest.raises(MismatchError, match=r"linear attention \(mixer='ufo'\) in stages.1.blocks.0.attn and 1 more"):
        load_weights(pvt(linear_stages=0), weights)
    with pytest.raises(MismatchError, match='Build the model with the same linear_stages, linear_blocks or mixers'):
        load_weights(vit(), vit(linear_blocks=(0,)).state_dict())
    assert load_weights(pvt(linear_stages=(0, 1)), weights).share == 1
    others = {key: value for key, value in vit().state_dict().items() if '.attn.' not in key}
    with pytest.raises(MismatchError) as caught:  # no attention of any kind is there
        load_weights(vit(linear_blocks=0), others)
    assert 'softmax' not in str(caught.value)


def test_a_checkpoint_says_what_it_is() -> None:
    for name, options, text in (
        ('ss_pvt_v2_b0', dict(linear_stages=(0, 1)), "b0 (settings='specific', linear attention in 4"),
        ('ss_vit_tiny_patch16_224', dict(linear_blocks=3, settings='uniform'), "'uniform', linear attention in 1"),
    ):
        weights = timm.create_model(name, **options).state_dict()
        found = identify(weights, 'it')
        assert found.fits and text in str(found) and len(found.linear) == int(text[-1])
        del weights[next(key for key in weights if key.endswith('kv_norm.gamma')).replace('kv_norm.gamma', 'proj.bias')]
        assert not identify(weights, 'it').fits


def test_other_kinds_of_attention_are_left_as_they_were() -> None:
    assert [type(layer) for layer in attention.attention_layers(pvt())] == [SpatialReductionAttention] * 5
    assert [type(layer) for layer in attention.attention_layers(vit())] == [SelfAttention] * 4


def test_the_least_side_of_an_open_graph_is_that_of_the_blocks_that_reduce() -> None:
    least = [pvt(linear_stages=stages).smallest_dynamic_side() for stages in (None, 0, (0, 1), range(4))]
    assert least == [29, 25, 17, 1]  # 8 x 8 tokens of 4 pixels, 4 x 4 of 8, 2 x 2 of 16
    mixed = [dict(mixer=mixer) for mixer in ('ufo', 'ufo', 'attention', 'ufo', 'ufo')]
    assert pvt(mixed).smallest_dynamic_side() == 25
