"""Layer-wise learning rates for every backbone of the package, wherever it stands."""

import pytest
import timm
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from ss_backbones import SSPVTv2, SSViT

RATE, LR, DECAY = 0.7, 0.1, 0.05
WRAPPER = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY),
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(layer_decay_rate=RATE),
)


class Detector(nn.Module):
    """Whatever carries a backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))


def options(model: nn.Module, **paramwise: object) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of every parameter that the optimiser has."""
    cfg = dict(WRAPPER, paramwise_cfg={'layer_decay_rate': RATE, **paramwise})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    found = {names[id(p)]: (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    assert len(found) == sum(len(group['params']) for group in groups)
    assert all(group['param_names'] == [names[id(p)] for p in group['params']] for group in groups)
    assert len({(group['lr'], group['weight_decay']) for group in groups}) == len(groups)  # one group each
    return found


# By hand, for a network of three blocks: how many layers lie between a parameter and the neck.
PVT = dict(embed_dims=(16, 32), depths=(1, 2), num_heads=(1, 2), sr_ratios=(2, 1), mlp_ratios=(4, 4))
DISTANCES = {
    'pvt': {
        'patch_embed.': 4,
        'stages.0.blocks.0.': 3,
        'stages.0.norm.': 3,
        'stages.1.downsample.': 2,
        'stages.1.blocks.0.': 2,
        'stages.1.blocks.1.': 1,
        'stages.1.norm.': 1,
    },
    'vit': {
        'patch_embed.': 4,
        'pos_embed': 4,
        'cls_token': 4,
        'blocks.0.': 3,
        'blocks.1.': 2,
        'blocks.2.': 1,
        'norm.': 0,
        'pyramid.': 0,
    },
}


def backbone(kind: str) -> nn.Module:
    if kind == 'pvt':
        return SSPVTv2(PVT, out_indices=(0, 1))
    return SSViT(dict(embed_dim=16, depth=3, num_heads=2))


def undecayed(name: str, model: nn.Module) -> bool:
    owner = model.get_submodule(name.rpartition('.')[0])
    norm = isinstance(owner, nn.LayerNorm | nn.BatchNorm2d)
    return norm or name.endswith('bias') or name.endswith(('pos_embed', 'cls_token'))


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
@pytest.mark.parametrize('kind', DISTANCES)
def test_every_parameter_by_hand(kind: str, prefix: str) -> None:
    model = Detector(backbone(kind)) if prefix else backbone(kind)
    found = options(model)
    assert found.keys() == {name for name, _ in model.named_parameters()}
    seen = set()
    for name, (lr, decay) in found.items():
        start = next((s for s in DISTANCES[kind] if name.startswith(prefix + s)), None)
        seen.add(start)
        distance = 0 if start is None else DISTANCES[kind][start]
        assert lr == pytest.approx(LR * RATE**distance), name
        assert decay == (0 if undecayed(name, model) else DECAY), name
    assert seen == {*DISTANCES[kind], *([None] if prefix else [])}


@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224'])
def test_classifiers_of_timm(name: str) -> None:
    found = options(timm.create_model(name))
    assert found['head.weight'] == (LR, DECAY) and found['head.bias'] == (LR, 0)
    depth = 8 if 'pvt' in name else 12
    assert found['patch_embed.proj.weight'][0] == pytest.approx(LR * RATE ** (depth + 1))


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_detectors_and_segmenters(library: str) -> None:
    pytest.importorskip(library)
    # both libraries have constructors of the same or a like name in their own scope
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    path = 'mmdet::_base_/models/retinanet_r50_fpn.py' if library == 'mmdet' else 'mmseg::_base_/models/fpn_r50.py'
    base = Config.fromfile(_installed(path))
    base.model.backbone = dict(type='SSViT', arch=dict(embed_dim=32, depth=3, num_heads=2))
    base.model.neck.in_channels = [8, 16, 32, 32]
    base.model.pop('pretrained', None)
    with DefaultScope.overwrite_default_scope(library):
        model = MODELS.build(base.model)
        found = options(model)
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert found['backbone.blocks.1.mlp.fc1.weight'] == (pytest.approx(LR * RATE**2), DECAY)
    assert found['backbone.pos_embed'] == (pytest.approx(LR * RATE**4), 0)
    assert found['neck.lateral_convs.0.conv.weight'] == (LR, DECAY)


def _installed(path: str) -> str:
    from importlib.util import find_spec
    from pathlib import Path

    library, name = path.split('::')
    return str(Path(find_spec(library).origin).parent / '.mim' / 'configs' / name)


def test_frozen_parameters_are_left_out() -> None:
    model = Detector(SSViT(dict(embed_dim=16, depth=3, num_heads=2), frozen_stages=2))
    assert options(model).keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def test_mmengines_own_options_still_work() -> None:
    keys = {
        'neck.0': dict(lr_mult=10.0),
        'backbone.pos_embed': dict(decay_mult=0.5),
        'blocks.0.attn': dict(lr_mult=2.0),
    }
    found = options(Detector(backbone('vit')), custom_keys=keys)
    assert found['neck.0.weight'] == (pytest.approx(10 * LR), DECAY)
    assert found['backbone.pos_embed'] == (pytest.approx(LR * RATE**4), pytest.approx(DECAY / 2))
    assert found['backbone.blocks.0.attn.proj.weight'] == (pytest.approx(2 * LR * RATE**3), DECAY)
    assert found['backbone.blocks.0.attn.proj.bias'] == (pytest.approx(2 * LR * RATE**3), 0)


def test_a_custom_key_for_the_rate_leaves_the_weight_decay_alone() -> None:
    model = Detector(backbone('vit'))
    for name, (_, decay) in options(model, custom_keys={'backbone': dict(lr_mult=0.1)}).items():
        assert decay == (0 if undecayed(name, model) else DECAY), name


def test_a_custom_key_that_changes_nothing_makes_no_group_of_its_own() -> None:
    model = Detector(backbone('vit'))
    assert (
        options(model, custom_keys={'pyramid': dict(lr_mult=1.0, decay_mult=1.0)}).items()
        > {
            'backbone.pyramid.levels.1.weight': (LR, DECAY),
            'neck.0.weight': (LR, DECAY),
        }.items()
    )


def test_a_foreign_backbone_needs_its_layers_only() -> None:
    class Foreign(nn.Linear):
        def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
            return 0, 3

    assert options(Detector(Foreign(2, 2)))['backbone.weight'] == (pytest.approx(LR * RATE**2), DECAY)


@pytest.mark.parametrize('key', ['decay_rate', 'num_layers', 'norm_decay_mlt'])
def test_unknown_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown keys \['{key}'\]; known are .*layer_decay_rate.*_delete_=True"):
        options(backbone('vit'), **{key: 1})


def test_a_step_moves_deep_layers_more() -> None:
    model = Detector(backbone('vit'))
    wrapper = build_optim_wrapper(model, WRAPPER)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper.update_params(sum(m.square().sum() for m in model.backbone(torch.randn(2, 3, 32, 32))))
    moved = {name: (p - before[name]).abs().max().item() for name, p in model.named_parameters()}
    # AdamW's first step is the learning rate, whatever the gradient
    ratio = moved['backbone.blocks.0.norm1.bias'] / moved['backbone.blocks.2.norm1.bias']
    assert ratio == pytest.approx(RATE**2, rel=1e-2)


@pytest.mark.parametrize('rate', [None, 0, -0.5, 1.5, '0.9', True, float('nan')])
def test_a_bad_rate_is_refused(rate: object) -> None:
    with pytest.raises(ValueError, match='layer_decay_rate=.* must be a number above 0 and up to 1'):
        options(backbone('vit'), layer_decay_rate=rate)


def test_a_missing_paramwise_cfg_is_refused() -> None:
    with pytest.raises(ValueError, match='layer_decay_rate=None must be'):
        build_optim_wrapper(backbone('vit'), {k: v for k, v in WRAPPER.items() if k != 'paramwise_cfg'})


@pytest.mark.parametrize('missing', ['lr', 'weight_decay'])
def test_an_optimiser_without_its_figures_is_refused(missing: str) -> None:
    optimizer = {key: value for key, value in WRAPPER['optimizer'].items() if key != missing}
    with pytest.raises(ValueError, match=f'the optimizer needs {missing}='):
        build_optim_wrapper(backbone('vit'), dict(WRAPPER, optimizer=optimizer))


def test_a_model_without_our_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match='nothing in Linear has get_layer_depth'):
        options(nn.Linear(3, 3))
