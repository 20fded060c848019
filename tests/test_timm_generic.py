"""What timm asks of every model in its own tests, over every registered one and against its plain twin."""

import math

import pytest
import timm
import torch
from table import DFC, MODELS, NAMES
from timm.models import group_parameters
from torch import Tensor, nn

from ss_backbones.timm_models import MODEL_NAMES

TWINS = {row.name: row.plain for row in MODELS} | {'ss_vit_base_patch16_384': 'deit_base_patch16_384'} | DFC
SIDE = 64  # the smallest at which no attention has a single key, whose query would get no gradient
every_model = pytest.mark.parametrize('name', TWINS)


@pytest.fixture(scope='module', params=TWINS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    """Each model once; pytest runs all tests of one before it builds the next."""
    torch.manual_seed(0)
    return timm.create_model(request.param, num_classes=7)


def on_meta(name: str, **arguments: object) -> nn.Module:
    """Shapes alone, without memory for weights."""
    return timm.create_model(name, device='meta', **arguments).eval()


def image(side: int = SIDE, channels: int = 3, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, side, side)


def test_the_table_has_them_all() -> None:
    assert sorted(TWINS) == sorted(NAMES) == sorted(MODEL_NAMES) == sorted(timm.list_models(['ss_*', 'dfc_*']))


def test_forward(model: nn.Module) -> None:
    model.eval()
    x = image()
    with torch.no_grad():
        out = model(x)
        assert out.shape == (2, 7) and out.isfinite().all()
        assert (out[0] - out[1]).abs().max() > 1e-4  # the image matters
        one_by_one = torch.cat([model(x[:1]), model(x[1:])])
        torch.testing.assert_close(out, one_by_one, rtol=1e-3, atol=1e-4)
        features = model.forward_features(x)
        torch.testing.assert_close(model.forward_head(features), out)
        vector = model.forward_head(features, pre_logits=True)
        assert vector.shape == (2, model.head_hidden_size)
        torch.testing.assert_close(model.get_classifier()(vector), out)


def test_gradients_with_and_without_checkpointing(model: nn.Module) -> None:
    model.train()
    x, probe = image(), torch.randn(2, 7)
    block = (model.stages[-1] if hasattr(model, 'stages') else model).blocks[-1]
    calls, results = [], []
    hook = block.register_forward_pre_hook(lambda *_: calls.append(1))
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        out = model(x)
        (out * probe).sum().backward()
        results.append((out.detach(), {name: p.grad for name, p in model.named_parameters()}))
    hook.remove()
    model.set_grad_checkpointing(False)
    model.zero_grad()
    (out, grads), (again, grads_again) = results
    assert len(calls) == 3  # once, and twice with checkpointing
    assert not [name for name, grad in grads.items() if grad is None or not grad.isfinite().all() or not grad.any()]
    torch.testing.assert_close(again, out)
    torch.testing.assert_close(grads_again, grads, rtol=1e-4, atol=1e-5)


def test_a_traced_model_gives_the_same(model: nn.Module) -> None:
    model.eval()
    with torch.no_grad():
        traced = torch.jit.trace(model, image(), check_trace=False)
        x = image()
        torch.testing.assert_close(traced(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224', 'dfc_deit_tiny_patch16_224'])
def test_an_exported_model_gives_the_same(name: str) -> None:
    model = timm.create_model(name, num_classes=7).eval()
    exported = torch.export.export(model, (image(),), dynamic_shapes=({0: torch.export.Dim('batch')},)).module()
    x = image(batch=5)
    with torch.no_grad():
        torch.testing.assert_close(exported(x), model(x), rtol=1e-4, atol=1e-5)


@every_model
@pytest.mark.parametrize('taken', [None, (-2,), (1, 3)], ids=repr)
def test_feature_maps_are_what_feature_info_says(name: str, taken: tuple[int, ...] | None) -> None:
    arguments = {} if taken is None else dict(out_indices=taken)
    ours, theirs = on_meta(name, features_only=True, **arguments), on_meta(TWINS[name], features_only=True, **arguments)
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    maps = ours(torch.empty(2, 3, 70, 96, device='meta'))
    assert [m.shape for m in maps] == [
        (2, channels, math.ceil(70 / step), math.ceil(96 / step))
        for channels, step in zip(ours.feature_info.channels(), ours.feature_info.reduction(), strict=True)
    ]


@every_model
def test_the_configuration_is_the_plain_models(name: str) -> None:
    ours, theirs = on_meta(name), on_meta(TWINS[name])
    for key in ('input_size', 'fixed_input_size', 'pool_size', 'num_classes', 'classifier', 'first_conv'):
        assert ours.default_cfg.get(key) == theirs.default_cfg.get(key), key
    for key in ('crop_pct', 'interpolation', 'mean', 'std'):
        assert ours.default_cfg[key] == theirs.default_cfg[key], key
    for attribute in ('num_classes', 'num_features', 'head_hidden_size', 'in_chans', 'global_pool'):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert ours.default_cfg['architecture'] == name
    assert ours.get_submodule(ours.default_cfg['classifier']).out_features == 1000
    assert ours.get_submodule(ours.default_cfg['first_conv']).in_channels == 3


@every_model
def test_features_pool_and_head(name: str) -> None:
    model = on_meta(name)
    x = torch.empty(2, *model.default_cfg['input_size'], device='meta')
    features = model.forward_features(x)
    dim = 1 if features.ndim == 4 else 2
    assert features.shape[dim] == model.num_features
    if features.ndim == 4:
        assert features.shape[2:] == model.default_cfg['pool_size']
    for without in (model, on_meta(name, num_classes=0)):
        without.reset_classifier(0)
        assert without.num_classes == 0 and isinstance(without.get_classifier(), nn.Identity)
        assert without.forward_head(features).shape == (2, model.num_features)
        without.reset_classifier(0, '')
        assert without.forward_head(features).shape == features.shape
    assert on_meta(name, num_classes=0, global_pool='').forward_head(features).shape == features.shape
    model.reset_classifier(3)  # brings the pooling back
    assert model.forward_head(features).shape == (2, 3)
    with pytest.raises(ValueError, match=r"global_pool='' leaves no vector for a head of num_classes=3"):
        model.reset_classifier(3, '')


@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224'])
@pytest.mark.parametrize('last', [0, 1, 3])
def test_a_pruned_model_still_runs(name: str, last: int) -> None:
    model = timm.create_model(name).eval()
    x = image()
    with torch.no_grad():
        end, _ = model.forward_intermediates(x, [last], stop_early=True)
        wanted = model.forward_head(end, pre_logits=True)
        assert model.prune_intermediate_layers([last]) == [last]
        torch.testing.assert_close(model(x), wanted)


@every_model
@pytest.mark.parametrize('channels', [1, 4])
def test_channels(name: str, channels: int) -> None:
    model = on_meta(name, in_chans=channels)
    assert model.in_chans == channels and model.get_submodule('patch_embed.proj').weight.shape[1] == channels
    assert model.forward_intermediates(torch.empty(1, channels, SIDE, SIDE, device='meta'), [0], stop_early=True)
    with pytest.raises(ValueError, match=rf'shape \(B, {channels}, H, W\)'):
        model(torch.empty(1, 3, SIDE, SIDE, device='meta'))


@every_model
def test_what_the_optimisers_of_timm_read(name: str) -> None:
    model = on_meta(name)
    groups = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    names = [key for key, _ in model.named_parameters()]
    depth = next((row.depth for row in MODELS if row.name == name), 12)
    assert set(groups) == set(names) and set(groups.values()) == set(range(depth + 2))
    assert model.no_weight_decay() <= set(names)


@every_model
def test_a_new_head_follows_the_body(name: str) -> None:
    model = on_meta(name).to(torch.float64).eval()
    for classes in (0, 2):
        model.reset_classifier(classes)
    assert not model.head.training
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {('meta', torch.float64)}


@every_model
def test_the_device_and_the_type_of_a_new_model(name: str) -> None:
    model = timm.create_model(name, device='meta', dtype=torch.bfloat16)
    assert {(t.device.type, t.dtype) for t in model.state_dict().values()} == {('meta', torch.bfloat16)}


@every_model
def test_unknown_arguments_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'not_an_argument'"):
        on_meta(name, not_an_argument=1)
