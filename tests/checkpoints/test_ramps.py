"""Weights of networks that hold their ramps in three ways load into each other, and compute the same."""

from itertools import permutations

import pytest
import timm
import torch
from small_networks import Small, noisy, outputs, simplest
from torch import Tensor, nn

from ss_backbones import fold, load_weights
from ss_backbones.checkpoints.identification import identify
from ss_backbones.errors import MismatchError
from ss_backbones.layers import Mlp
from ss_backbones.settings import RAMPS, BlockSetting

WAYS = list(permutations(RAMPS, 2))


def images() -> Tensor:
    return torch.randn(2, 3, 40, 33, dtype=torch.float64)


def trained(make: Small, ramp: str) -> nn.Module:
    """With values in all biases that are learned."""
    return noisy(make(ramp=ramp)).double().eval()


def difference(model: nn.Module, other: nn.Module) -> float:
    x = images()
    with torch.no_grad():
        return max((a - b).abs().max().item() for a, b in zip(outputs(model, x), outputs(other, x), strict=True))


@simplest
@pytest.mark.parametrize(('source', 'target'), WAYS)
def test_each_takes_the_weights_of_the_others(make: Small, source: str, target: str) -> None:
    ours, theirs = make(ramp=target).double().eval(), trained(make, source)
    before = {key: value.clone() for key, value in theirs.state_dict().items()}
    report = load_weights(ours, theirs.state_dict())
    assert difference(ours, theirs) < 1e-9
    moved = 'paper' in (source, target)
    ramps = [mlp for mlp in ours.modules() if isinstance(mlp, Mlp) and mlp.ramp > 0]
    assert len(ramps) >= 3 and any(mlp.bypass for mlp in ramps)
    words = 'out of the biases' if target == 'paper' else 'into the biases'
    assert len(report.adapted) == moved * len(ramps) and all(words in line for line in report.adapted)
    assert not (report.missing or report.unexpected or report.differences)
    assert all(torch.equal(value, before[key]) for key, value in theirs.state_dict().items())

    again, back = make(ramp=target).double().eval(), make(ramp=source).double().eval()
    assert not load_weights(again, ours.state_dict()).adapted  # what was saved has no need of it
    load_weights(back, ours.state_dict())
    for other in (again, back, fold(ours), fold(theirs)):
        assert difference(other, theirs) < 1e-9


@simplest
def test_the_start(make: Small) -> None:
    """'paper' and 'bias' compute the same before the training, and 'none' what a network without ramps does."""
    models = {}
    for ramp in RAMPS:
        torch.manual_seed(0)
        models[ramp] = make(ramp=ramp).double().eval()
    flat = [BlockSetting(**{**vars(setting), 'pos_scale': 0.0}) for setting in models['paper'].settings]
    torch.manual_seed(0)
    without = make(settings=flat).double().eval()
    assert difference(models['paper'], models['bias']) < 1e-6  # the biases were made in float32
    assert difference(models['none'], without) == 0 != difference(models['paper'], without)


@simplest
def test_each_block_may_have_its_own(make: Small) -> None:
    settings = make(ramp='paper').settings
    ways = [RAMPS[i % 3] for i in range(len(settings))]
    mixed = make(
        settings=[BlockSetting(**{**vars(setting), 'ramp': w}) for setting, w in zip(settings, ways, strict=True)]
    )
    theirs = trained(make, 'bias')
    load_weights(mixed.double().eval(), theirs.state_dict())
    assert difference(mixed, theirs) < 1e-9
    assert [setting.ramp for setting in mixed.settings] == ways
    assert {setting.ramp for setting in make(settings=mixed.settings, ramp='none').settings} == {'none'}


def test_ramps_of_other_settings_are_refused() -> None:
    one, other = ([dict(pos_scale=scale, mlp_split=0.5)] * 8 for scale in (1.0, 2.0))
    none = [dict(mlp_split=0.5)] * 8
    make = {
        name: timm.create_model('ss_pvt_v2_b0', num_classes=5, settings=s) for name, s in (('one', one), ('none', none))
    }
    for ramp in RAMPS:
        model = timm.create_model('ss_pvt_v2_b0', num_classes=5, settings=other, ramp=ramp)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(MismatchError, match='a ramp to .* in the checkpoint'):
            load_weights(model, make['one'].state_dict())
        with pytest.raises(MismatchError, match='has no ramps where the settings have some'):
            load_weights(model, make['none'].state_dict())
        with pytest.raises(MismatchError, match='tensors more in the same parts'):
            load_weights(make['none'], model.state_dict())
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_torchs_own_loading_refuses() -> None:
    """With strict=False as well, where a ramp would be lost in silence."""
    paper, bias = (timm.create_model('ss_pvt_v2_b0', ramp=ramp) for ramp in ('paper', 'bias'))
    for ours, theirs in ((paper, bias), (bias, paper)):
        with pytest.raises(RuntimeError, match=r'size mismatch for stages\.\d\.blocks\.\d\.mlp\.pos_bias'):
            ours.load_state_dict(theirs.state_dict(), strict=False)


def test_half_precision_is_not_rounded_twice() -> None:
    theirs = noisy(timm.create_model('ss_pvt_v2_b0', ramp='paper', num_classes=5)).half()
    ours = timm.create_model('ss_pvt_v2_b0', ramp='bias', num_classes=5).double().eval()
    load_weights(ours, theirs.state_dict())
    assert difference(ours, theirs.double().eval()) < 1e-5


def test_what_a_checkpoint_is_of() -> None:
    for ramp in ('bias', 'none'):
        weights = timm.create_model('ss_pvt_v2_b0', num_classes=5, ramp=ramp).state_dict()
        assert str(identify(weights, 'it')) == "ss_pvt_v2_b0 (settings='specific', ramp='bias', 5 classes)"


@pytest.mark.parametrize('ramp', ['x', 1, ''])
def test_unknown(ramp: object) -> None:
    with pytest.raises(ValueError, match=r'ramp=.* is not known; take one of paper, bias, none'):
        timm.create_model('ss_pvt_v2_b0', ramp=ramp)
