"""The outputs of the official models, and what every number of a setting does."""

import numpy as np
import pytest
import reference
import timm
import torch
from reference import needs_reference
from torch import Tensor, nn

import ss_backbones
from ss_backbones import BlockSetting
from ss_backbones.networks import PVTv2
from ss_backbones.settings import RAMPS


@needs_reference
@pytest.mark.parametrize(
    ('name', 'ramp'),
    [
        *((name, ramp) for name in ('ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224') for ramp in RAMPS),
        ('ss_swin_base_patch4_window7_224', 'paper'),  # it takes long
    ],
)
def test_the_official_outputs(name: str, ramp: str) -> None:
    official = timm.create_model(name).double()
    shapes = {key: list(value.shape) for key, value in official.state_dict().items()}
    theirs = reference.keys_and_shapes(name)
    assert shapes == {key: shape for key, shape in theirs.items() if not key.endswith(official.computed_keys)}
    model = timm.create_model(name, ramp=ramp).double().eval()
    assert ss_backbones.load_weights(model, reference.weights(name, official)).share == 1
    maps = ss_backbones.SSPVTv2('b0').double().eval()
    if 'pvt' in name:
        ss_backbones.load_weights(maps, model.state_dict())
    with torch.no_grad():
        for image, logits, features in reference.cases(name):
            np.testing.assert_allclose(model(image).numpy(), logits, rtol=1e-9, atol=1e-11)
            ours = maps(image) if 'pvt' in name else stages(model, image) if 'swin' in name else blocks(model, image)
            for feature, expected in zip(ours, features, strict=True):
                reference.check(feature, *expected)


@needs_reference
@pytest.mark.parametrize('form', ['as trained', 'fused', 'folded'])
@pytest.mark.parametrize('name', ['spvit_deit_ti_l200_t10', 'spvit_swin_t_l28_t32'])
def test_the_official_outputs_of_spvit(name: str, form: str) -> None:
    model = timm.create_model(name, fused=form == 'fused').double().eval()
    report = ss_backbones.load_weights(model, {'model': reference.weights(name, model)})
    assert report.share == 1 and not report.unexpected
    model = ss_backbones.fold(model) if form == 'folded' else model
    features_of = stages if 'swin' in name else blocks
    with torch.no_grad():
        for image, logits, features in reference.cases(name):
            np.testing.assert_allclose(model(image).numpy(), logits, rtol=1e-9, atol=1e-11)
            for feature, expected in zip(features_of(model, image), features, strict=True):
                reference.check(feature, *expected)


def blocks(model: nn.Module, image: Tensor) -> list[Tensor]:
    return model.forward_tokens(image, after=(0, 1, 6, 11))[1]


def stages(model: nn.Module, image: Tensor) -> list[Tensor]:
    """The tokens after each stage, which ends with its merging there."""
    maps = model.forward_stages(image, {0, 1, 2, 3})
    ends = [stage.downsample or (lambda x: x.permute(0, 2, 3, 1)) for stage in model.layers]
    return [end(m).flatten(1, 2) for end, m in zip(ends, maps, strict=True)]


def test_every_setting_changes_the_network() -> None:
    # A number that is read and then ignored would pass every test of shapes.
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    base = PVTv2('b0', 'uniform').double().eval()
    for change in (dict(act='ReLU'), dict(pos_scale=1.0), dict(attn_split=0.5)):
        settings = [BlockSetting(**{'mlp_ratio': r, **change}) for r in (8, 8, 8, 8, 4, 4, 4, 4)]
        other = PVTv2('b0', settings).double().eval()
        other.load_state_dict(base.state_dict(), strict=False)
        assert (base(x)[-1] - other(x)[-1]).abs().max() > 1e-4, change
