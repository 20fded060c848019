"""SPViT's networks: what they cost, their checkpoints in both forms, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
import reference
import timm
import torch
from reference import needs_reference
from small_networks import backbone_of, classifier_on_meta, noisy
from table import FIGURES
from torch import Tensor, nn

from ss_backbones import BlockSetting, CheckpointError, SSPVTv2, SSSwin, SSViT, fold, load_weights
from ss_backbones.checkpoints.conversion import convert
from ss_backbones.checkpoints.files import read_checkpoint
from ss_backbones.checkpoints.identification import identify
from ss_backbones.complexity import complexity
from ss_backbones.compress.inheriting import inherit_blocks
from ss_backbones.errors import UserError
from ss_backbones.layers import ConvMixer, Skip
from ss_backbones.networks import PRESETS, Network, Swin, ViT

# millions of parameters of the fused network, and GMACs by the official formula
COSTS = {
    'spvit_deit_ti_l200_t10': (4.775, 1.037),
    'spvit_deit_sm_l30_t32': (15.871, 3.347),
    'spvit_deit_bs_l008_t60': (41.584, 8.391),
    'spvit_deit_bs_l006_t100': (58.321, 11.731),
    'spvit_swin_t_l28_t32': (26.232, 3.334),
    'spvit_swin_sm_l04_t55': (38.922, 6.143),
    'spvit_swin_bs_l01_t100': (67.542, 11.392),
}
MIXED = [dict(mixer='conv3x3', hidden=11), dict(mixer='conv1x1'), dict(mixer='skip'), {}]
SMALL: dict[type[Network], dict[str, object]] = {
    ViT: dict(arch=dict(embed_dim=12, depth=4, num_heads=3), img_size=48, settings=MIXED),
    Swin: dict(
        arch=dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2)), window_size=3, settings=MIXED, out_indices=(0, 1)
    ),
}
COLUMNS = {ViT: (0.01, [0, 1, 2, 3, 4, 5, 6, 7, 8]), Swin: (100.0, [1, 2, 3, 4, 0, 5, 6, 7, 8])}
every_released = pytest.mark.parametrize('name', COSTS)
both = pytest.mark.parametrize('network', SMALL, ids=lambda network: network.__name__)


def small(network: type[Network], **options: object) -> nn.Module:
    return backbone_of(network)(**SMALL[network], **options).double().eval()


def official(weights: dict[str, Tensor], network: type[Network], fused: bool) -> dict[str, Tensor]:
    """The weights of a trained network as the official code has them: queries and keys apart from values, what follows
    from the sizes, and in fused files convolutions, one head and one place after the other."""
    theirs: dict[str, Tensor] = {}
    for key, value in weights.items():
        block, _, end = key.partition('.attn.')
        if end.startswith('qkv.'):
            width = len(value) // 3
            theirs[f'{block}.attn.qk.{end[4:]}'], theirs[f'{block}.attn.v.{end[4:]}'] = value.split((2 * width, width))
            theirs[f'{block}.attn.relative_position_index'] = torch.zeros(9, 9)
        else:
            theirs[key] = value
    theirs['layers.0.blocks.1.attn_mask'] = torch.zeros(4, 9, 9)
    if network is ViT:
        theirs = {key: value for key, value in theirs.items() if not key.endswith(('_mask', '_index'))}
    temperature, columns = COLUMNS[network]
    for key in [key for key in theirs if fused and key.endswith('.head_probs')]:
        start, logits = key.removesuffix('head_probs'), theirs.pop(key)
        heads, weight = len(logits), theirs.pop(f'{start}v.weight')
        size = len(weight) // heads
        bias, projection = theirs.pop(f'{start}v.bias'), theirs.pop(f'{start}proj.weight')
        side = 3 if f'{start}bn_3x3.weight' in theirs else 1
        kernel, shift = weight.new_zeros(size, len(weight), side, side), weight.new_zeros(size)
        out = weight.new_zeros(len(weight), size, 1, 1)
        for place in range(9) if side == 3 else [4]:
            shares = (logits[:, columns[place]] / temperature).softmax(0)
            for head, share in enumerate(shares):
                rows = slice(head * size, (head + 1) * size)
                kernel[:, :, place % 3 if side == 3 else 0, place // 3 if side == 3 else 0] += share * weight[rows]
                shift += share * bias[rows]
                out[:, :, 0, 0] += share * projection[:, rows]
        theirs[f'{start}bconv.0.weight'], theirs[f'{start}bconv.0.bias'] = kernel, shift
        theirs[f'{start}bconv.3.weight'], theirs[f'{start}bconv.3.bias'] = out, theirs.pop(f'{start}proj.bias')
        for name in [name for name in theirs if name.startswith(f'{start}bn_{side}x{side}.')]:
            theirs[f'{start}bconv.1.{name.rpartition(".")[2]}'] = theirs.pop(name)
    return theirs


def same(one: nn.Module, other: nn.Module, tolerance: float = 1e-10) -> None:
    x = torch.randn(2, 3, 50, 41, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(one(x), other(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# The released networks.


@every_released
def test_what_they_cost(name: str) -> None:
    params, gmacs = COSTS[name]
    fused = complexity(classifier_on_meta(name, fused=True))
    assert f'{fused.params / 1e6:.3f}' == f'{params:.3f}'
    formula, more = official_macs(name)
    assert f'{formula / 1e9:.3f}' == f'{gmacs:.3f}'
    assert fused.macs == formula + more
    # in training the heads' weights are mixed, once for each place of the values and once for the projection
    mixing = sum(
        ({'conv1x1': 1, 'conv3x3': 9}.get(setting.mixer, -1) + 1) * dim**2
        for dim, setting in zip(
            PRESETS[name].network.archs[PRESETS[name].arch].widths(), settings_of(name), strict=True
        )
    )
    assert complexity(classifier_on_meta(name)).macs == fused.macs + mixing


def settings_of(name: str) -> tuple[BlockSetting, ...]:
    return PRESETS[name].network.named_settings[name].blocks


def official_macs(name: str) -> tuple[int, int]:
    """Multiply-adds at 224 x 224 by the official code's formula, and what is counted here beyond that.

    That formula has the norms, which nothing counts here, and leaves the class token out of the MLPs.
    """
    arch, swin = PRESETS[name].network.archs[PRESETS[name].arch], 'swin' in name
    stages = arch.depths if swin else [arch.depth]
    total, norms, class_token, blocks = 0, 0, 0, iter(settings_of(name))
    for stage, depth in enumerate(stages):
        dim, heads = (arch.embed_dims[stage], arch.num_heads[stage]) if swin else (arch.embed_dim, arch.num_heads)
        patches = 56**2 // 4**stage if swin else 14**2
        tokens, head = patches + (not swin), dim // heads
        attention = 4 * tokens * dim**2 + 2 * dim * (patches * 49 if swin else tokens**2)
        mixers = {'attention': attention, 'conv3x3': 10 * dim * head * patches, 'conv1x1': 2 * dim * head * patches}
        for _ in range(depth):
            setting = next(blocks)
            total += mixers.get(setting.mixer, 0) + 2 * patches * dim * setting.hidden
            norms += 2 * dim * tokens
            class_token += 0 if swin else 2 * dim * setting.hidden
        if swin and stage < len(stages) - 1:
            total += 2 * patches * dim**2
            norms += patches * dim
    if swin:
        total += 56**2 * 48 * arch.embed_dim
        norms += 56**2 * arch.embed_dim + dim * 56**2 // 16
    else:
        total += 14**2 * 768 * dim
    return total + dim * 1000 + norms, class_token - norms


@needs_reference
@every_released
def test_their_blocks_are_those_that_were_found(name: str) -> None:
    mixers, hidden = reference.choices_of_spvit(name)
    assert [(setting.mixer, setting.hidden) for setting in settings_of(name)] == list(zip(mixers, hidden, strict=True))
    model = classifier_on_meta(name)
    for block, mixer in zip(model.all_blocks(), mixers, strict=True):
        assert isinstance(block.attn, Skip if mixer == 'skip' else ConvMixer) == (mixer != 'attention')
        assert not [key for key in block.attn.state_dict() if 'qk' in key] or mixer == 'attention'
        assert not list(block.attn.parameters()) or mixer != 'skip'


def test_a_backbone_by_the_name_of_its_settings() -> None:
    assert list(COSTS) == [name for name in FIGURES if name.startswith('spvit_')]
    with torch.device('meta'):
        swin = SSSwin('tiny', settings='spvit_swin_t_l28_t32')
        vit = SSViT(dict(embed_dim=192, depth=12, num_heads=3, patch_size=8), 'spvit_deit_ti_l200_t10')
    assert tuple(swin.settings) == settings_of('spvit_swin_t_l28_t32') and vit.settings[0].hidden == 744
    assert str(swin.settings[1]).startswith('dict(') and swin.settings[1].mixer == 'skip'


# Checkpoints.


@pytest.mark.parametrize('fused', [False, True])
@both
def test_official_checkpoints_go_in_and_out(network: type[Network], fused: bool, tmp_path: Path) -> None:
    source = noisy(small(network))
    theirs = official(source.state_dict(), network, fused)
    model = small(network, fused=fused)
    report = load_weights(model, {'model': theirs, 'epoch': 3})
    assert report.share == 1 and not report.unexpected and bool(report.adapted) is False
    same(model, source)
    same(fold(model), source)
    torch.save(theirs, tmp_path / 'official.pth')
    convert(tmp_path / 'official.pth', tmp_path / 'ours.pth', 'timm')
    ours = read_checkpoint(str(tmp_path / 'ours.pth'))
    assert ours.keys() == model.state_dict().keys()
    convert(tmp_path / 'ours.pth', tmp_path / 'back.pth', 'official')
    back = read_checkpoint(str(tmp_path / 'back.pth'))['model']
    kept = {key: value for key, value in theirs.items() if not key.endswith(('_index', '_mask'))}
    assert back.keys() == kept.keys() and all(torch.equal(back[key], kept[key]) for key in kept)


@both
def test_what_was_trained_is_fused_for_a_fused_network(network: type[Network]) -> None:
    source, model = noisy(small(network)), small(network, fused=True)
    report = load_weights(model, source.state_dict())
    assert report.share == 1 and len(report.adapted) == 2 and 'attn.bconv (fused)' in report.adapted[0]
    same(model, source)
    same(fold(source), source)
    assert {key for key in fold(source).state_dict() if 'bconv' in key} == {
        key for key in model.state_dict() if 'bconv' in key
    }
    for how in (model.load_state_dict, lambda weights: load_weights(model, weights, prefix='')):
        noisy(model)
        how(source.state_dict())
        same(model, source)


@both
def test_fused_weights_are_refused_where_they_do_not_fit(network: type[Network]) -> None:
    source, model = noisy(small(network, fused=True)), small(network)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for load in (load_weights, lambda model, weights: model.load_state_dict(weights)):
        with pytest.raises(
            CheckpointError, match='fused convolutions .*attn.bconv.* Build the network with fused=True'
        ):
            load(model, source.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match='not of a folded model'):
        load_weights(fold(model), source.state_dict())


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('name', ['spvit_deit_ti_l200_t10', 'spvit_swin_t_l28_t32'])
def test_timms_ways_in(name: str, fused: bool, tmp_path: Path) -> None:
    network = PRESETS[name].network
    source = noisy(timm.create_model(name, num_classes=7)).eval()
    file = tmp_path / 'official.pth'
    torch.save({'model': official(source.state_dict(), network, fused)}, file)
    x = torch.randn(1, 3, 64, 64)
    ways: list[Callable[[], nn.Module]] = [
        lambda: timm.create_model(name, num_classes=7, fused=fused, checkpoint_path=str(file)),
        lambda: timm.create_model(
            name, num_classes=7, fused=fused, pretrained=True, pretrained_cfg_overlay=dict(file=str(file))
        ),
    ]
    for way in ways:
        with torch.no_grad():
            torch.testing.assert_close(way().eval()(x), source(x), rtol=1e-4, atol=1e-4)
    found = identify(dict(timm.create_model(name, num_classes=7, fused=fused).state_dict()), 'it')
    more = ', fused=True' if fused else ''
    assert found.fits and str(found) == f'{name} (settings={name!r}{more}, 7 classes)'
    features = timm.create_model(name, fused=fused, features_only=True, out_indices=(1,), checkpoint_path=str(file))
    assert len(features(x)) == 1


def test_layers_of_other_shapes_are_not_joined() -> None:
    weights = official(noisy(small(ViT)).state_dict(), ViT, False)
    weights['blocks.3.attn.v.weight'] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r'blocks\.3\.attn\.qkv\.weight'):
        load_weights(small(ViT), weights)


def test_nothing_of_a_checkpoint_is_lost_in_fusing() -> None:
    weights = noisy(small(ViT)).state_dict()
    weights['blocks.1.attn.bn_3x3.weight'] = torch.ones(4)  # as a search has beside the norm of its 1 x 1 convolution
    with pytest.raises(CheckpointError, match='1 tensors more in the same parts'):
        load_weights(small(ViT, fused=True), weights)


# Training.


@pytest.mark.parametrize(('fused', 'compiled'), [(False, False), (True, False), (False, True)])
@both
def test_a_batch_that_is_recomputed_counts_once(network: type[Network], fused: bool, compiled: bool) -> None:
    states = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = small(network, fused=fused, with_cp=with_cp).train()
        run = torch.compile(model, backend='aot_eager') if compiled else model
        for _ in range(2):
            sum(m.square().mean() for m in run(torch.randn(2, 3, 33, 48, dtype=torch.float64))).backward()
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        assert [(int(m.num_batches_tracked), m.momentum) for m in norms] == [(2, 0.1)] * 2
        assert all(m.running_mean.any() for m in norms)
        states.append({key: value for key, value in model.state_dict().items()})
    torch.testing.assert_close(*states)


@both
def test_norms_of_frozen_parts_stand_still(network: type[Network]) -> None:
    model = small(network, frozen_stages=1, drop_path_rate=0.0).train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m.running_mean.clone() for m in norms]
    sum(m.sum() for m in model(torch.randn(2, 3, 33, 48, dtype=torch.float64))).backward()
    # ViT's parts are blocks, and Swin's stages, of which both convolutions are in the first
    moved = [not torch.equal(m.running_mean, old) for m, old in zip(norms, before, strict=True)]
    assert moved == ([False, True] if network is ViT else [False, False])


# What is refused.

NO_ATTENTION = dict(mixer='conv3x3'), dict(mixer='skip')


def test_convolutions_alone_are_enough_where_no_class_token_is_read() -> None:
    """And one block with attention where it is."""
    for make in (
        lambda: SSViT(dict(embed_dim=12, depth=2, num_heads=3), [*NO_ATTENTION]),
        lambda: timm.create_model('ss_swin_tiny_patch4_window7_224', settings=6 * [*NO_ATTENTION]),
        lambda: timm.create_model('ss_vit_tiny_patch16_224', settings=[{}, *NO_ATTENTION, *9 * [dict(mixer='skip')]]),
    ):
        with torch.device('meta'):
            assert make().eval()(torch.empty(1, 3, 224, 224)) is not None


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda: SSViT('small', 'spvit_deit_ti_l200_t10'), r"are for arch='tiny', and .* Give arch='tiny'"),
        (lambda: SSSwin('small', 'spvit_swin_t_l28_t32'), "settings='spvit_swin_t_l28_t32' are for arch='tiny'"),
        (lambda: SSSwin('tiny', 'spvit_deit_ti_l200_t10'), 'is unknown.*There are also spvit_swin_t_l28_t32, '),
        (lambda: SSPVTv2('b0', 'spvit_swin_t_l28_t32'), "is unknown. Take 'specific', 'uniform' or a list of BlockS"),
        (lambda: SSViT('tiny', fused=True), r'fused=True is for convolution mixers \(conv1x1, conv3x3\), and no block'),
        (lambda: SSPVTv2('b0', fused=True), 'fused=True is for convolution mixers'),
        (lambda: small(ViT, fused='yes'), "fused='yes' must be True or False"),
        (lambda: SSPVTv2('b0', [dict(mixer='conv1x1')] * 8), "mixer='conv1x1' is not possible in SSPVTv2"),
        (lambda: small(ViT, mlp='dfc'), 'a multiple of it'),
        (
            lambda: timm.create_model('ss_vit_tiny_patch16_224', settings=6 * [*NO_ATTENTION]),
            'No block has attention: convolutions leave the class token as it came',
        ),
    ],
)
def test_what_does_not_go_together(make: Callable[[], nn.Module], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@both
def test_nothing_is_inherited(network: type[Network]) -> None:
    plain = backbone_of(network)(**{**SMALL[network], 'settings': 'uniform'}).eval()
    for source, target in ((plain, small(network).float()), (small(network).float(), plain)):
        with pytest.raises(UserError, match=r"^settings\[0\] has mixer='conv3x3'.*attention in all blocks"):
            next(inherit_blocks(source, target, [torch.randn(1, 3, 48, 48)]))


def test_layers_that_were_replaced_are_not_folded() -> None:
    model = small(ViT)
    nn.utils.parametrizations.weight_norm(model.blocks[0].attn.v)
    model.eval()
    with pytest.raises(ValueError, match='cannot be folded'):
        fold(model)


def test_other_windows_concern_attention_alone() -> None:
    model = small(Swin)
    model.resize_windows(img_size=60, window_size=5)
    assert [getattr(block.attn, 'window_size', None) for block in model.all_blocks()] == [None, None, None, (5, 5)]
