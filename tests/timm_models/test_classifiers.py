"""What timm's tools ask of a model beside what test_backbones.py does, against the plain twins in timm."""

import math
import re
from collections import Counter
from dataclasses import asdict

import pytest
import timm
import torch
from small_networks import (
    DFC,
    PLAIN,
    Small,
    classifier_on_meta,
    every_classifier,
    every_preset,
    noisy,
    outputs,
    shallow,
)
from table import FIGURES, SMALL
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from ss_backbones import BlockSetting, load_weights
from ss_backbones.networks import PRESETS, Network, Swin, UFOViT, XCiT

SIDE = 64  # the smallest at which no attention has a single key, whose query would get no gradient
# the first preset of each family that timm has as well
FAMILIES = {preset.network: preset.name for preset in reversed(PRESETS.values()) if preset.network is not UFOViT}
every_family = pytest.mark.parametrize('network', FAMILIES, ids=lambda network: network.__name__)


def image(side: int = SIDE, channels: int = 3, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, side, side)


def create(network: type[Network], **options: object) -> nn.Module:
    """A small model of a family by way of timm."""
    return timm.create_model(FAMILIES[network], **{**next(iter(SMALL[network].values())), **options})


def twins(network: type[Network], **options: object) -> tuple[nn.Module, nn.Module]:
    """Our plain network and timm's, small and with the same weights."""
    ours = create(network, settings='uniform', **options).double().eval()
    sizes = dict(next(iter(SMALL[network].values())))
    arch = sizes.pop('arch')
    theirs = noisy(timm.create_model(FIGURES[FAMILIES[network]][0], **arch, **sizes, **options)).double().eval()
    return ours, theirs


def channels_first(maps: Tensor, model: nn.Module) -> Tensor:
    """What a model of timm's gives as (B, C, h, w)."""
    last = getattr(getattr(model, 'output_fmt', None), 'value', getattr(model, 'output_fmt', None)) == 'NHWC'
    return maps.permute(0, 3, 1, 2) if last else maps


@pytest.mark.parametrize('arguments', [{}, dict(out_indices=(0, 2)), dict(out_indices=(-2,))], ids=repr)
@every_family
def test_features_only(network: type[Network], arguments: dict) -> None:
    ours, theirs = twins(network, features_only=True, **arguments)
    weights = (theirs.model if hasattr(theirs, 'model') else theirs).state_dict()
    # timm's list of stages writes stages_0 for stages.0
    weights = {re.sub(r'^(stages|layers)_', r'\1.', key): value for key, value in weights.items()}
    load_weights(ours.model, weights, partial=True)
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    x = image().double()
    with torch.no_grad():
        for a, b in zip(ours(x), [channels_first(m, theirs) for m in theirs(x)], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    sum(m.sum() for m in ours(x)).backward()
    assert not [name for name, p in ours.named_parameters() if p.grad is None]  # nothing is kept that does nothing


@pytest.mark.parametrize(
    'arguments',
    [
        {},
        dict(indices=2),
        dict(indices=[1, -1]),
        dict(indices=[1], stop_early=True),
        dict(indices=[2], norm=True),
        dict(indices=[0, 3], norm=True),
    ],
    ids=repr,
)
@every_family
def test_forward_intermediates(network: type[Network], arguments: dict) -> None:
    ours, theirs = twins(network, num_classes=3)
    load_weights(ours, theirs.state_dict())
    x = image().double()
    with torch.no_grad():
        for only in (False, True):
            if 'stop_early' in arguments and network is Swin and not only:
                continue  # timm puts the last stage's norm on the map of another stage, which fails
            mine = ours.forward_intermediates(x, intermediates_only=only, **arguments)
            wanted = theirs.forward_intermediates(x, intermediates_only=only, **arguments)
            if not only:
                wanted = (channels_first(wanted[0], theirs), wanted[1])
            torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9)
        if ours.pooling == 'token' and ours.prefix_tokens:
            options = dict(indices=1, output_fmt='NLC', return_prefix_tokens=True, intermediates_only=True)
            mine, wanted = ours.forward_intermediates(x, **options), theirs.forward_intermediates(x, **options)
            torch.testing.assert_close(mine, [tuple(pair) for pair in wanted], rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="output_fmt='NHWC' is not possible; take NCHW"):
        ours.forward_intermediates(x, output_fmt='NHWC')


@every_family
def test_grad_checkpointing_of_models_and_of_features(network: type[Network]) -> None:
    for options in ({}, dict(features_only=True)):
        model = create(network, **options)
        blocks, results = getattr(model, 'model', model).all_blocks(), []
        for enable, times in ((False, 1), (True, 2), (False, 1)):
            calls = Counter()
            hooks = [b.register_forward_pre_hook(lambda block, _, calls=calls: calls.update([block])) for b in blocks]
            model.zero_grad()
            model.set_grad_checkpointing(enable)
            torch.manual_seed(0)
            sum(out.square().sum() for out in outputs(model, image())).backward()
            assert calls == dict.fromkeys(blocks, times)
            results.append([p.grad for p in model.parameters()])
            for hook in hooks:
                hook.remove()
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@every_classifier
def test_features_and_head_are_the_model(make: Small) -> None:
    model, x = noisy(make()).eval(), image(40)
    with torch.no_grad():
        out, features = model(x), model.forward_features(x)
        torch.testing.assert_close(model.forward_head(features), out)
        vector = model.forward_head(features, pre_logits=True)
        assert vector.shape == (2, model.head_hidden_size)
        torch.testing.assert_close(model.get_classifier()(vector), out)
        pooled = features.flatten(2).mean(2) if features.ndim == 4 else features[:, 0]
        torch.testing.assert_close(vector, pooled)
        torch.testing.assert_close(out, pooled @ model.head.weight.T + model.head.bias)


@every_classifier
def test_the_head_can_be_changed(make: Small) -> None:
    model, x = make().eval(), image(40)
    assert model.get_classifier() is model.head and model.head.out_features == 5
    model.reset_classifier(7)
    assert model(x).shape == (2, 7) and model.num_classes == 7
    model.reset_classifier(0)
    torch.testing.assert_close(model(x), model.forward_head(model.forward_features(x), pre_logits=True))
    with pytest.raises(ValueError, match="global_pool='max' is not possible: this model has '(avg|token)' alone"):
        model.reset_classifier(3, 'max')
    for classes in (-1, 1.5):
        with pytest.raises(ValueError, match='num_classes'):
            make(num_classes=classes)


# of torch.jit.trace, which the user asked for
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@every_classifier
def test_a_traced_model_gives_the_same(make: Small) -> None:
    model, x = noisy(make()).eval(), image(batch=5)
    with torch.no_grad():
        traced = torch.jit.trace(model, image(), check_trace=False)
        torch.testing.assert_close(traced(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(torch.__version__.startswith('2.6.'), reason='torch 2.6 exports no open number of images')
@pytest.mark.parametrize('options', [{}, PLAIN, DFC], ids=['ss', 'plain', 'dfc'])
@every_family
def test_an_exported_model_gives_the_same(network: type[Network], options: dict) -> None:
    arch = asdict(network.archs[PRESETS[FAMILIES[network]].arch])
    model, x = noisy(create(network, **options, arch=arch | shallow(arch))).eval(), image(batch=5)
    exported = torch.export.export(model, (image(),), dynamic_shapes=({0: torch.export.Dim('batch')},)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('last', [0, 1, 3])
@every_classifier
def test_a_pruned_model_still_runs(make: Small, last: int) -> None:
    model, x = noisy(make()).eval(), image()
    with torch.no_grad():
        end, _ = model.forward_intermediates(x, [last], stop_early=True)
        wanted = model.forward_head(end, pre_logits=True)
        if issubclass(make.network, XCiT):  # class attention goes with the head, as in timm
            options = dict(norm=True, output_fmt='NLC', intermediates_only=True)
            (wanted,) = model.forward_intermediates(x, [last], **options)
        keys = model.state_dict().keys()
        assert model.prune_intermediate_layers([last]) == [last]
        torch.testing.assert_close(model(x), wanted)
        left = {key for key in keys if not key.startswith(('head.', *model.not_built))}
        assert set(model.state_dict()) == left


@every_classifier
def test_it_trains_on_one_batch(make: Small) -> None:
    model = make(num_classes=4)
    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
    losses = []
    for _ in range(50):
        loss = nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@every_classifier
def test_timms_own_layer_decay(make: Small) -> None:
    model = make()
    groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.5)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    seen = 0
    for group in groups:
        for parameter in group['params']:
            layer, layers = model.get_layer_depth(names[id(parameter)])
            assert layers == len(model.all_blocks()) + 2
            assert group['lr_scale'] == pytest.approx(0.5 ** (layers - 1 - layer)), names[id(parameter)]
            seen += 1
    assert seen == len(names)


@every_family
def test_classes_channels_and_settings(network: type[Network]) -> None:
    settings = [BlockSetting(mlp_ratio=2)] * len(create(network).settings)
    model = create(network, num_classes=7, in_chans=4, settings=settings)
    assert model(image(channels=4)).shape == (2, 7)
    first = model.all_blocks()[0].mlp.fc1
    assert first.out_features == 2 * first.in_features


# Every preset, without memory for weights.


@pytest.mark.parametrize('taken', [None, (-2,), (1, 3)], ids=repr)
@every_preset
def test_feature_maps_are_what_feature_info_says(name: str, taken: tuple[int, ...] | None) -> None:
    arguments = dict(features_only=True) if taken is None else dict(features_only=True, out_indices=taken)
    ours, theirs = classifier_on_meta(name, **arguments), classifier_on_meta(FIGURES[name][0], **arguments)
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    maps = ours(torch.empty(2, 3, 70, 96, device='meta'))
    assert [m.shape for m in maps] == [
        (2, channels, math.ceil(70 / step), math.ceil(96 / step))
        for channels, step in zip(ours.feature_info.channels(), ours.feature_info.reduction(), strict=True)
    ]


@every_preset
def test_the_configuration_is_the_plain_models(name: str) -> None:
    ours, theirs = classifier_on_meta(name), classifier_on_meta(FIGURES[name][0])
    sized = (
        'fixed_input_size' if not issubclass(PRESETS[name].network, XCiT) else 'input_size'
    )  # timm's takes any, and denies it
    for key in ('input_size', sized, 'pool_size', 'num_classes', 'first_conv'):
        assert ours.default_cfg.get(key) == theirs.default_cfg.get(key), key
    assert ours.default_cfg['classifier'] == theirs.default_cfg['classifier'].removesuffix('.fc')  # of Swin
    for key in ('crop_pct', 'interpolation', 'mean', 'std'):
        other = key == 'crop_pct' and name.startswith('spvit_')  # evaluated from 256 pixels, as in the official code
        assert ours.default_cfg[key] == (224 / 256 if other else theirs.default_cfg[key]), key
    for attribute in ('num_classes', 'num_features', 'head_hidden_size', 'in_chans', 'global_pool'):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert ours.default_cfg['architecture'] == name
    assert ours.get_submodule(ours.default_cfg['classifier']).out_features == 1000
    assert ours.get_submodule(ours.default_cfg['first_conv']).in_channels == 3
    if isinstance(getattr(theirs, 'pos_embed', None), nn.Parameter):
        assert ours.pos_embed.shape == theirs.pos_embed.shape


@every_preset
def test_features_pool_and_head(name: str) -> None:
    model = timm.create_model(name, device='meta').eval()
    x = torch.empty(2, *model.default_cfg['input_size'], device='meta')
    features = model.forward_features(x)
    dim = 1 if features.ndim == 4 else 2
    assert features.shape[dim] == model.num_features
    if features.ndim == 4:
        assert features.shape[2:] == model.default_cfg['pool_size']
    without = classifier_on_meta(name, num_classes=0)
    assert without.num_classes == 0 and isinstance(without.get_classifier(), nn.Identity)
    assert without.forward_head(features).shape == (2, model.num_features)
    assert classifier_on_meta(name, num_classes=0, global_pool='').forward_head(features).shape == features.shape
    model.reset_classifier(0)
    assert model.num_classes == 0 and model.forward_head(features).shape == (2, model.num_features)
    model.reset_classifier(0, '')
    assert model.forward_head(features).shape == features.shape
    model.reset_classifier(3)  # brings the pooling back
    assert model.forward_head(features).shape == (2, 3)
    with pytest.raises(ValueError, match=r"global_pool='' leaves no vector for a head of num_classes=3"):
        model.reset_classifier(3, '')


@every_preset
def test_channels_device_type_and_a_new_head(name: str) -> None:
    model = timm.create_model(name, in_chans=4, device='meta', dtype=torch.bfloat16).eval()
    assert model.in_chans == 4 and model.get_submodule(model.first_conv).weight.shape[1] == 4
    numbers = [t for t in model.state_dict().values() if t.is_floating_point()]  # BatchNorm counts its batches
    assert {(t.device.type, t.dtype) for t in numbers} == {('meta', torch.bfloat16)}
    images = torch.empty(1, 4, SIDE, SIDE, device='meta', dtype=torch.bfloat16)
    assert model.forward_intermediates(images, [0], stop_early=True)
    for classes in (0, 2):  # the head follows the body
        model.to(torch.float64).reset_classifier(classes)
    assert not model.head.training
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {('meta', torch.float64)}
    with pytest.raises(TypeError, match='has no argument not_an_argument'):
        timm.create_model(name, not_an_argument=1)


@every_preset
def test_what_the_optimisers_of_timm_read(name: str) -> None:
    model = classifier_on_meta(name)
    groups = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    assert set(groups) == {key for key, _ in model.named_parameters()}
    assert set(groups.values()) == set(range(len(model.settings) + 2))


def test_the_default_settings_follow_timm() -> None:
    for name, size, crop in (('ss_pvt_v2_b0', 224, 0.9), ('ss_vit_base_patch16_384', 384, 1.0)):
        cfg = classifier_on_meta(name).default_cfg
        assert cfg['input_size'] == (3, size, size) and cfg['crop_pct'] == crop
        assert cfg['classifier'] == 'head' and cfg['first_conv'] == 'patch_embed.proj'
