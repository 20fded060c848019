"""XCiT's weights in the layouts of timm and of the official repository, its detectors' too."""

import pytest
import timm
import torch
from small_networks import noisy
from torch import Tensor, nn

from ss_backbones import CheckpointError, SSXCiT, load_weights
from ss_backbones.timm_models import SSXCiTClassifier

ARCH = dict(embed_dim=16, depth=6, num_heads=2)


def classifier(**arguments: object) -> SSXCiTClassifier:
    return noisy(SSXCiTClassifier(**{'arch': ARCH, 'num_classes': 5, **arguments})).eval()


def timms() -> nn.Module:
    return noisy(timm.create_model('xcit_tiny_12_p16_224', num_classes=5, **ARCH)).eval()


def as_official(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The positions under their official name, and one layer for class attention's queries, keys and values."""
    theirs = {}
    for key, value in weights.items():
        if '.attn.q.' in key:
            parts = [weights[key.replace('.attn.q.', f'.attn.{name}.')] for name in 'qkv']
            theirs[key.replace('.attn.q.', '.attn.qkv.')] = torch.cat(parts)
        elif '.attn.k.' not in key and '.attn.v.' not in key:
            theirs[key.replace('pos_embed.', 'pos_embeder.')] = value
    assert len(theirs) == len(weights) - 8
    return theirs


def equal(ours: nn.Module, theirs: dict[str, Tensor]) -> bool:
    state = ours.state_dict()
    return all(torch.equal(state[key], theirs[key]) for key in state)


def test_timms_and_the_official_layout() -> None:
    theirs = timms().state_dict()
    for layout in (theirs, as_official(theirs), {'model': as_official(theirs)}):
        ours = classifier(settings='uniform')
        report = load_weights(ours, layout)
        assert report.share == 1 and not report.unexpected and equal(ours, theirs)


def test_a_backbone_leaves_out_what_classifiers_alone_have() -> None:
    theirs = timms().state_dict()
    for pyramid in ('blocks', 'simple', False):
        ours = SSXCiT(ARCH, 'uniform', pyramid=pyramid)
        report = load_weights(ours, as_official(theirs))
        own = {key for key in ours.state_dict() if not key.startswith('pyramid.')}
        assert set(report.matched) == own and not report.missing
        assert all(key.startswith(('cls_', 'head.', *ours.not_built)) for key in report.unexpected)
        assert not any(key.startswith('cls_') for key in own) and ('norm.weight' in own) == (pyramid == 'simple')


def test_official_detectors_call_their_pyramid_by_numbers() -> None:
    source, target = noisy(SSXCiT(ARCH)), SSXCiT(ARCH)
    weights = {
        key.replace('pyramid.levels.', 'fpn').replace('fpn0', 'fpn1', 1)
        if key.startswith('pyramid.levels.0.')
        else key.replace('pyramid.levels.1.', 'fpn2.'): value
        for key, value in source.state_dict().items()
    }
    assert {key.split('.')[0] for key in weights} >= {'fpn1', 'fpn2'}
    assert load_weights(target, {f'backbone.{key}': value for key, value in weights.items()}).share == 1
    assert equal(target, source.state_dict())


def test_patches_of_another_size_are_another_network() -> None:
    with pytest.raises(CheckpointError, match='patch_embed'):
        load_weights(classifier(patch_size=8), classifier().state_dict())
