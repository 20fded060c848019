"""What timm users expect beside a forward pass, over one model of each kind and against timm's plain twin."""

import pytest
import timm
import torch
from table import MODELS
from timm.optim import param_groups_layer_decay
from torch import nn

import ss_backbones

ROWS = [row for row in MODELS if row.arch in ('b0', 'tiny')]
NAMES = [row.name for row in ROWS]


def twins(row: object, **arguments: object) -> tuple[nn.Module, nn.Module]:
    """Our plain network and timm's, with the same weights."""
    theirs = timm.create_model(row.plain, num_classes=3).double().eval()
    ours = timm.create_model(row.name, settings='uniform', num_classes=3).double().eval()
    ss_backbones.load_weights(ours, theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize('arguments', [{}, dict(out_indices=(0, 2)), dict(out_indices=(-2,))], ids=repr)
def test_features_only(row: object, arguments: dict) -> None:
    theirs = timm.create_model(row.plain, features_only=True, **arguments).double().eval()
    ours = timm.create_model(row.name, settings='uniform', features_only=True, **arguments).double().eval()
    ss_backbones.load_weights(
        ours.model, theirs.model.state_dict() if 'vit' in row.name else _pvt(theirs), partial=True
    )
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        for a, b in zip(ours(x), theirs(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert all(p.grad is None for p in ours.parameters())
    sum(m.sum() for m in ours(x)).backward()
    assert not [name for name, p in ours.named_parameters() if p.grad is None]  # nothing is kept that does nothing


def _pvt(features: nn.Module) -> dict[str, torch.Tensor]:
    """timm's list of stages writes stages_0 for stages.0."""
    return {key.replace('stages_', 'stages.'): value for key, value in features.state_dict().items()}


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize(
    'arguments',
    [{}, dict(indices=2), dict(indices=[1, -1]), dict(indices=[1], stop_early=True), dict(indices=[2], norm=True)],
    ids=repr,
)
def test_forward_intermediates(row: object, arguments: dict) -> None:
    ours, theirs = twins(row)
    x = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        for only in (False, True):
            mine = ours.forward_intermediates(x, intermediates_only=only, **arguments)
            wanted = theirs.forward_intermediates(x, intermediates_only=only, **arguments)
            torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9)
        if 'vit' in row.name:
            options = dict(indices=1, output_fmt='NLC', return_prefix_tokens=True, intermediates_only=True)
            mine, wanted = ours.forward_intermediates(x, **options), theirs.forward_intermediates(x, **options)
            torch.testing.assert_close(mine, [tuple(pair) for pair in wanted], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('name', NAMES)
def test_a_format_that_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="output_fmt='NHWC' is not possible; take NCHW"):
        timm.create_model(name).forward_intermediates(torch.randn(1, 3, 224, 224), output_fmt='NHWC')


@pytest.mark.parametrize('name', NAMES)
def test_the_head_can_be_changed(name: str) -> None:
    model = timm.create_model(name, num_classes=5).eval()
    x = torch.randn(1, 3, 224, 224)
    assert model.get_classifier() is model.head and model.head.out_features == 5
    model.reset_classifier(7)
    assert model(x).shape == (1, 7) and model.num_classes == 7
    model.reset_classifier(0)
    torch.testing.assert_close(model(x), model.forward_head(model.forward_features(x), pre_logits=True))
    with pytest.raises(ValueError, match="global_pool='max' is not possible: this model has '(avg|token)' alone"):
        model.reset_classifier(3, 'max')


@pytest.mark.parametrize('name', NAMES)
def test_grad_checkpointing_recomputes(name: str) -> None:
    model = timm.create_model(name, num_classes=2)
    calls = []
    first = model.stages[0].blocks[0] if 'pvt' in name else model.blocks[0]
    first.register_forward_pre_hook(lambda *_: calls.append(1))
    for enable, times in ((True, 2), (False, 1)):
        calls.clear()
        model.set_grad_checkpointing(enable)
        model(torch.randn(1, 3, 224, 224)).sum().backward()
        assert len(calls) == times


@pytest.mark.parametrize(('name', 'depth'), [('ss_pvt_v2_b0', 8), ('ss_vit_tiny_patch16_224', 12)])
def test_timms_own_layer_decay(name: str, depth: int) -> None:
    model = timm.create_model(name)
    groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.5)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    seen = 0
    for group in groups:
        for parameter in group['params']:
            layer, layers = model.get_layer_depth(names[id(parameter)])
            assert layers == depth + 2
            assert group['lr_scale'] == pytest.approx(0.5 ** (layers - 1 - layer)), names[id(parameter)]
            seen += 1
    assert seen == len(names)
