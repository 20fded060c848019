"""What must hold for every network of the catalog, as an OpenMMLab backbone and as a timm classifier."""

import copy
import hashlib
import io
import json
import math
import pickle
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
import timm
import torch
from mmengine.model import BaseModule
from small_networks import (
    CLASSIFIER_OF,
    Small,
    backbone_on_meta,
    classifier_on_meta,
    every_backbone,
    every_network,
    every_preset,
    noisy,
    outputs,
    shallow,
    simplest,
    simplest_backbones,
    without_gradient,
)
from table import FIGURES, ROWS, SMALL, TWINNED, Row
from torch import nn

from ss_backbones import BlockSetting, load_weights
from ss_backbones.complexity import complexity
from ss_backbones.layers import chunking
from ss_backbones.layers.mlp import HiddenMlp
from ss_backbones.networks import PRESETS, PVTv2, Swin, UFOViT, XCiT, network_in
from ss_backbones.timm_models import model_names

KEYS = Path(__file__).with_name('state_dict_keys.json')


def test_the_tables_have_them_all() -> None:
    assert list(FIGURES) == list(PRESETS) == model_names()
    assert sorted(PRESETS) == sorted(timm.list_models(['ss_*', 'spvit_*', 'ufo_*', 'dfc_*']))
    assert set(SMALL) == {preset.network for preset in PRESETS.values()} == set(CLASSIFIER_OF)


# All presets, without memory for weights.


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
def test_parameters_and_multiply_adds_to_the_last_digit(row: Row) -> None:
    plain = dict(settings='uniform', mlp='standard')
    for options, params, gmacs in (({}, row.params, row.gmacs), (plain, row.plain_params, row.plain_gmacs)):
        found = complexity(classifier_on_meta(row.name, **options), (1, 3, row.size, row.size))
        assert str(found) == f'{gmacs:.3f} GMACs, {params:.3f} M parameters'
    smaller = row.params < row.plain_params and row.gmacs < row.plain_gmacs
    assert smaller == (PRESETS[row.name].network is not UFOViT)  # whose presets are plain


def fingerprint(model: nn.Module) -> list[int | str]:
    """How many keys a state dict has, and a hash of them with their shapes."""
    lines = sorted(f'{key} {tuple(value.shape)}' for key, value in model.state_dict().items())
    return [len(lines), hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:16]]


@every_preset
def test_state_dict_keys_stay(name: str) -> None:
    # Users have files with these keys. Those of a new network are added when they are first right; the failure below
    # says what to write. They never change after that.
    known = json.loads(KEYS.read_text())
    found = {name: fingerprint(classifier_on_meta(name)), f'{name} backbone': fingerprint(backbone_on_meta(name))}
    assert found == {key: known.get(key) for key in found}


@every_preset
def test_backbone_and_classifier_differ_in_what_they_say(name: str) -> None:
    backbone, classifier = backbone_on_meta(name), classifier_on_meta(name)
    theirs, ours = classifier.state_dict().keys(), backbone.state_dict().keys()
    assert not {key for key in theirs - ours if not key.startswith(('head.', *backbone.not_built))}
    assert not {key for key in ours - theirs if not key.startswith(backbone.backbone_keys)}
    assert isinstance(backbone, BaseModule) and network_in(backbone) is backbone and network_in(classifier)
    assert len(backbone.settings) == len(backbone.all_blocks()) == len(classifier.all_blocks())
    maps = backbone(torch.empty(2, 3, 64, 96, device='meta'))
    assert [m.shape for m in maps] == [
        (2, c, math.ceil(64 / s), math.ceil(96 / s)) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]


@every_preset
def test_layers_for_learning_rates_and_weight_decay(name: str) -> None:
    backbone, classifier = backbone_on_meta(name), classifier_on_meta(name)
    for model in (backbone, classifier):
        names = [key for key, _ in model.named_parameters()]
        depth = len(model.settings)
        layers = {key: model.get_layer_depth(f'backbone.{key}', prefix='backbone.') for key in names}
        assert {last for _, last in layers.values()} == {depth + 2}
        # every block has a layer of its own; what classifiers and pyramids add is the last, where there is any
        assert {layer for layer, _ in layers.values()} - {depth + 1} == set(range(depth + 1))
        blocks = {id(block): i for i, block in enumerate(model.all_blocks())}
        for path, module in model.named_modules():
            if id(module) in blocks:
                assert layers[f'{path}.norm1.weight'][0] == blocks[id(module)] + 1, path
        assert all(layers[key][0] == 0 for key in names if key.startswith('patch_embed.'))
        assert model.no_weight_decay() <= set(names)
    assert {classifier.get_layer_depth(key)[0] for key in ('head.weight', 'head.bias')} == {depth + 1}


@pytest.mark.parametrize('row', TWINNED, ids=lambda row: row.name)
def test_uniform_settings_have_the_plain_networks_weights(row: Row) -> None:
    models = classifier_on_meta(row.name, settings='uniform', mlp='standard'), classifier_on_meta(row.plain)
    shapes = [sorted(tuple(p.shape) for p in model.state_dict().values()) for model in models]
    assert shapes[0] == shapes[1]


# Numbers.

PADDED_NOWHERE = {
    224: 112,
    384: 192,
}  # sides whose maps are multiples of the windows of a preset for others, or smaller


@pytest.mark.parametrize('deep', [False, True])
@pytest.mark.parametrize('row', TWINNED, ids=lambda row: row.name)
def test_uniform_settings_are_the_plain_network(row: Row, deep: bool) -> None:
    preset = PRESETS[row.name]
    if preset.mlp != 'standard' or deep and preset.arch != next(iter(preset.network.archs)):
        pytest.skip('one block everywhere shows what an arch is, the whole depth of one arch what a family is')
    arch = asdict(preset.network.archs[preset.arch])
    cut = {} if deep else shallow(arch)
    height, width, options = 65, 48, dict(dynamic_img_size=True, dynamic_img_pad=True)
    sized = {}
    if preset.network in (PVTv2, XCiT):
        options = {}
    elif preset.network is Swin:  # where nothing is filled up, as timm shifts before it does and not after it
        height, width, options = PADDED_NOWHERE[preset.img_size], PADDED_NOWHERE[preset.img_size], {}
        sized = dict(img_size=height)
    theirs = noisy(timm.create_model(row.plain, num_classes=10, **options, **sized, **cut).double().eval())
    ours = timm.create_model(row.name, arch=arch | cut, settings='uniform', num_classes=10, **sized).double().eval()
    assert load_weights(ours, theirs.state_dict()).share == 1
    x = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)


SIZES = [(1, 1), (1, 90), (8, 8), (17, 33), (64, 64), (130, 50)]


@pytest.mark.parametrize('size', SIZES, ids=str)
@every_network
def test_any_size_and_every_parameter_gets_a_gradient(make: Small, size: tuple[int, int]) -> None:
    model = make()
    out = outputs(model, torch.randn(2, 3, *size))
    if make.is_classifier:
        assert [o.shape for o in out] == [(2, 5)]
    else:
        assert [o.shape for o in out] == [
            (2, channels, -(-size[0] // stride), -(-size[1] // stride))
            for channels, stride in zip(model.channels, model.strides, strict=True)
        ]
        assert all(o.is_contiguous() for o in out)
    assert all(o.isfinite().all() for o in out)
    sum((o * torch.randn_like(o)).sum() for o in out).backward()
    assert not without_gradient(model)


@pytest.mark.parametrize('size', [(17, 33), (70, 64)], ids=str)
@every_network
def test_an_image_does_not_know_of_the_others_in_its_batch(make: Small, size: tuple[int, int]) -> None:
    model, x = noisy(make()).double().eval(), torch.randn(3, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        whole = outputs(model, x)
        each = zip(*(outputs(model, image[None]) for image in x), strict=True)
        for together, alone in zip(whole, each, strict=True):
            torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)
        assert (whole[0][0] - whole[0][1]).abs().max() > 1e-5  # the image matters
        assert [o.shape[0] for o in outputs(model, x[:0])] == [0] * len(whole)


@every_network
def test_channels_last_images_give_the_same(make: Small) -> None:
    model, x = noisy(make()).double().eval(), torch.randn(2, 3, 40, 56, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(
            outputs(model, x.contiguous(memory_format=torch.channels_last)), outputs(model, x), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@every_network
def test_recomputed_blocks_give_the_same_gradients(make: Small) -> None:
    calls, results = Counter(), []
    for with_cp in (False, True):
        torch.manual_seed(0)
        dropout = 'proj_drop_rate' if make.is_classifier else 'drop_rate'
        model = make(with_cp=with_cp, drop_path_rate=0.3, **{dropout: 0.1})
        for block in model.all_blocks():
            block.register_forward_pre_hook(lambda *_, key=with_cp: calls.update([key]))
        torch.manual_seed(1)
        out = outputs(model, torch.randn(2, 3, 64, 80))
        sum(o.square().mean() for o in out).backward()
        results.append((out, [p.grad for p in model.parameters()], list(model.buffers())))
    depth = len(model.all_blocks())
    assert calls == {False: depth, True: 2 * depth}  # every block ran again in the backward pass
    torch.testing.assert_close(results[0], results[1])


@every_network
def test_mlps_that_are_recomputed_by_rows_give_the_same_gradients(make: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, 'RECOMPUTED_BYTES_ON_CPU', 0)  # as few rows at a time as there may be
    rows, of_rows, results = [], HiddenMlp.of_rows, []
    monkeypatch.setattr(HiddenMlp, 'of_rows', lambda self, x, kept=None: rows.append(kept) or of_rows(self, x, kept))
    for with_cp in (False, True):
        rows.clear()
        torch.manual_seed(0)
        model = noisy(make(with_cp=with_cp, drop_path_rate=0.3)).double()
        torch.manual_seed(1)
        out = outputs(model, torch.randn(2, 3, 72, 49, dtype=torch.float64))
        sum(o.square().mean() for o in out).backward()
        results.append((out, [p.grad for p in model.parameters()], list(model.buffers())))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-12)
    if make.network is PVTv2:  # whose largest map has 18 rows
        assert {(0, 8), (1, 9), (1, 3)} <= {(kept.start, kept.stop) for kept in rows if kept is not None}


@every_network
def test_copies_and_pickles_are_the_network(make: Small) -> None:
    model, x = noisy(make()).eval(), torch.randn(1, 3, 40, 33)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
        with torch.no_grad():
            assert all(torch.equal(a, b) for a, b in zip(outputs(model, x), outputs(other, x), strict=True))
        parameters = list(other.parameters())
        assert not {p.data_ptr() for p in parameters} & {p.data_ptr() for p in model.parameters()}
        parameters[0].data.zero_()
        assert not torch.equal(parameters[0], next(model.parameters()))


@every_network
def test_a_network_in_bfloat16(make: Small) -> None:
    model = noisy(make()).eval()
    half = copy.deepcopy(model).to(torch.bfloat16)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for exact, rounded in zip(outputs(model, x), outputs(half, x.to(torch.bfloat16)), strict=True):
            assert rounded.dtype == torch.bfloat16
            assert (rounded.float() - exact).norm() < 0.06 * exact.norm()


@every_backbone
def test_autocast_in_a_backbone_hands_out_float32(make: Small) -> None:
    x = torch.randn(1, 3, 64, 80)
    plain, half = make().eval(), make(bf16=True).eval()
    half.load_state_dict(plain.state_dict())
    seen = []
    half.all_blocks()[0].mlp.fc1.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    for ours, theirs in zip(half(x), plain(x), strict=True):
        assert ours.dtype == torch.float32 and ours.is_contiguous()
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)
    assert seen == [torch.bfloat16]
    sum(m.square().mean() for m in half.train()(x)).backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in half.parameters())
    sizes = [complexity(model, (1, 3, 64, 64)) for model in (plain, half)]
    assert sizes[0] == sizes[1]


@every_network
def test_drop_path_rises_linearly_or_not_at_all_and_dropout_acts_in_training_only(make: Small) -> None:
    depth = len(make().all_blocks())
    rates = [block.drop_path.drop_prob for block in make(drop_path_rate=0.07 * (depth - 1)).all_blocks()]
    assert rates == pytest.approx([0.07 * (depth - 1 if issubclass(make.network, XCiT) else i) for i in range(depth)])
    x = torch.randn(2, 3, 32, 32)
    names = ['drop_rate', 'attn_drop_rate', 'drop_path_rate', *['proj_drop_rate'] * make.is_classifier]
    if make.network is UFOViT:  # there are no attention weights to drop
        names.remove('attn_drop_rate')
    for name in names:
        model = noisy(make(**{name: 0.5}))
        with torch.no_grad():
            assert not torch.equal(outputs(model, x)[-1], outputs(model, x)[-1]), name
            model.eval()
            assert torch.equal(outputs(model, x)[-1], outputs(model, x)[-1]), name


@pytest.mark.parametrize('channels', [1, 4])
@simplest
def test_images_of_other_channels(make: Small, channels: int) -> None:
    model = make(**{'in_chans' if make.is_classifier else 'in_channels': channels}).eval()
    assert model.in_channels == channels and model.get_submodule(model.first_conv).weight.shape[1] == channels
    assert outputs(model, torch.randn(1, channels, 32, 32))[0].isfinite().all()
    for shape in ((1, 3, 8, 8), (channels, 8, 8), (8,), (1, channels, 0, 8)):
        with pytest.raises(ValueError, match=rf'Expected images of shape \(B, {channels}, H, W\) .* in_channels='):
            model(torch.zeros(shape))


# Backbones.


@every_backbone
def test_out_indices_pick_the_same_maps_and_build_no_more(make: Small) -> None:
    full = noisy(make()).eval()
    x, count = torch.randn(1, 3, 64, 64), len(full.out_indices)
    with torch.no_grad():
        all_maps = full(x)
        for given, taken in ((-1, [count - 1]), (None, [1]), (None, [0, 2]), (None, [0, count - 1])):
            indices = [full.out_indices[i] for i in taken] if given is None else given
            model = make(out_indices=indices).eval()
            built = {key for key in full.state_dict() if not key.startswith(model.not_built or ('?',))}
            assert set(model.state_dict()) == built
            model.load_state_dict({key: full.state_dict()[key] for key in built})
            assert model.channels == [full.channels[i] for i in taken]
            assert model.strides == [full.strides[i] for i in taken]
            for ours, i in zip(model(x), taken, strict=True):
                torch.testing.assert_close(ours, all_maps[i])
    assert len(make(out_indices=full.out_indices[0]).state_dict()) < len(full.state_dict())


@every_backbone
def test_frozen_parts_from_the_start_and_after_train(make: Small) -> None:
    count = make().count_parts()
    for frozen in (-1, 0, 1, count // 2, count):
        model = make(frozen_stages=frozen, drop_path_rate=0.5)
        parts = model.freezable()
        assert len(parts) == count + 1
        still = {id(p) for part in parts[: frozen + 1] for thing in part for p in _parameters(thing)}
        asleep = {id(m) for part in parts[: frozen + 1] for thing in part for m in _modules(thing)}
        for _ in range(2):  # first as built, then after train()
            assert {id(p) for p in model.parameters() if not p.requires_grad} == still, frozen
            assert model.train() is model
            assert {id(m) for m in model.modules() if not m.training} == asleep, frozen
        if len(still) < len(list(model.parameters())):
            sum(m.square().mean() for m in model(torch.randn(2, 3, 32, 32))).backward()
        assert {id(p) for p in model.parameters() if p.grad is None} == still
        # the stem first, then the blocks in their order: nothing that is frozen stands behind anything that is not
        layers = [model.get_layer_depth(name)[0] for name, p in model.named_parameters() if id(p) in still]
        others = [model.get_layer_depth(name)[0] for name, p in model.named_parameters() if id(p) not in still]
        assert not layers or not others or max(layers) <= min(others)


def _parameters(thing: nn.Module | nn.Parameter) -> list[nn.Parameter]:
    return [thing] if isinstance(thing, nn.Parameter) else list(thing.parameters())


def _modules(thing: nn.Module | nn.Parameter) -> list[nn.Module]:
    return [] if isinstance(thing, nn.Parameter) else list(thing.modules())


# What is refused.


@simplest
def test_unknown_arguments_are_refused_in_words(make: Small) -> None:
    with pytest.raises(TypeError) as caught:
        make(drop_path_rat=0.1)
    text = str(caught.value)
    assert 'has no argument drop_path_rat (perhaps drop_path_rate). There are arch, settings, ' in text
    for argument in ('with_cp', 'attn_drop_rate', 'mlp', 'in_chans' if make.is_classifier else 'frozen_stages'):
        assert re.search(rf' {argument}[,.]', text)
    with pytest.raises(TypeError, match='has no argument depth.*, zzz' + '.*_delete_=True' * (not make.is_classifier)):
        make(depth=50, zzz='x')


@pytest.mark.parametrize(
    ('arguments', 'error', 'text'),
    [
        (dict(arch='huge'), ValueError, "arch='huge' is unknown. Known are "),
        (dict(arch=3), TypeError, 'arch must be one of .* or a dict, not int'),
        (dict(arch=dict(width=3)), ValueError, r"arch has unknown keys \['width'\] and lacks \['"),
        (dict(settings='special'), ValueError, "settings='special' is unknown. Take 'specific', 'uniform' or a list"),
        (dict(settings=[BlockSetting()] * 3), ValueError, 'has 3 entries, but this architecture has . blocks'),
        (dict(settings=3), TypeError, "settings must be 'specific', 'uniform' or a list"),
        (dict(mlp='gates'), ValueError, "mlp='gates' is unknown. Known are standard, dfc"),
        (dict(mlp='dfc'), ValueError, "mlp='dfc' does not go with settings='specific'"),
        (dict(drop_path_rate=1.0), ValueError, r'drop_path_rate=1.0 is a probability and must lie in \[0, 1\)'),
        (dict(attn_drop_rate=-0.1), ValueError, 'attn_drop_rate=-0.1 is a probability'),
        (dict(with_cp='False'), ValueError, "with_cp='False' must be True or False"),
    ],
)
@simplest
def test_bad_arguments(make: Small, arguments: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make(**arguments)


@pytest.mark.parametrize(
    ('settings', 'text'),
    [
        (dict(attn_split=0.5, attn_ratio=0.5), 'needs attn_ratio=1'),
        (dict(attn_ratio=0.01), 'attn_ratio=0.01 leaves a head of .* channels with none'),
        (dict(mlp_ratio=0.001), 'mlp_ratio=0.001|makes 0 hidden channels .* larger mlp_ratio'),
        (dict(hidden=1, mlp_split=0.5), 'makes 1 hidden channels .* bypass .* or hidden'),
    ],
)
@simplest_backbones
def test_impossible_settings(make: Small, settings: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(settings=[settings] * len(make().settings))


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(out_indices=99), 'out_indices=99: 99 is out of range. There are'),
        (dict(out_indices=(0, -99)), '-99 is out of range'),
        (dict(out_indices=(2, 1)), 'must rise'),
        (dict(out_indices=()), 'is empty'),
        (dict(out_indices='1'), 'must be a whole number or a list'),
        (dict(frozen_stages=99), 'frozen_stages=99 is out of range'),
        (dict(frozen_stages=-2), 'frozen_stages=-2 is out of range'),
        (dict(frozen_stages=True), 'frozen_stages=True is out of range'),
        (dict(in_channels=0), 'in_channels=0 must be'),
        (dict(drop_rate='0'), "drop_rate='0' is a probability"),
        (dict(bf16='no'), "bf16='no' must be True or False"),
        (dict(init_cfg='file.pth'), 'init_cfg must be a dict with a type'),
    ],
)
@simplest_backbones
def test_bad_arguments_of_a_backbone(make: Small, arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(**arguments)
