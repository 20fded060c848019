"""What goes into a network is found once, changes nothing, and needs no values of the network."""

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from mmengine.runner.checkpoint import load_state_dict
from other_layouts import to_pvt
from torch import Tensor, nn

from ss_backbones import CheckpointError, SSPVTv2, SSViT, load_weights
from ss_backbones.checkpoints.identification import known_networks
from ss_backbones.checkpoints.matching import Difference, match
from ss_backbones.errors import MismatchError
from ss_backbones.networks import PRESETS, Preset, ViT

SMALL = dict(embed_dim=32, depth=12, num_heads=2)
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    'SSPVTv2': lambda **arguments: SSPVTv2('b0', drop_path_rate=0.0, **arguments),
    'SSViT': lambda **arguments: SSViT(SMALL, img_size=64, **arguments),
    'timm pvt': lambda **arguments: timm.create_model('ss_pvt_v2_b0', num_classes=5, **arguments),
    'timm vit': lambda **arguments: timm.create_model('ss_vit_tiny_patch16_224', num_classes=5, **arguments),
}
by_network = pytest.mark.parametrize('make', NETWORKS.values(), ids=NETWORKS)


def as_it_was(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, Tensor]]:
    return {key: (value.data_ptr(), value.clone()) for key, value in tensors.items()}


def assert_untouched(tensors: Mapping[str, Tensor], before: Mapping[str, tuple[int, Tensor]]) -> None:
    assert list(tensors) == list(before)
    for key, (place, value) in before.items():
        assert tensors[key].data_ptr() == place and torch.equal(tensors[key], value), key


def _in_a_detector(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f'module.backbone.{key}': value for key, value in weights.items()} | {'neck.weight': torch.ones(2)}


@pytest.mark.parametrize(
    ('make', 'target', 'adapted'),
    [
        (
            lambda: _in_a_detector(to_pvt(SSPVTv2('b0').state_dict())),
            lambda: SSPVTv2('b0', in_channels=4),
            1,
        ),
        (
            lambda: _in_a_detector(SSViT(SMALL).state_dict()),
            lambda: SSViT(SMALL, img_size=96, class_token=False),
            2,
        ),
        (lambda: SSViT(SMALL).state_dict(), lambda: SSViT(SMALL, img_size=96), 1),
    ],
    ids=['foreign keys', 'another size', 'own keys'],
)
def test_a_match_changes_neither_weights_nor_network(make: Callable, target: Callable, adapted: int) -> None:
    weights = make()
    module = target()
    before = as_it_was(weights), as_it_was(module.state_dict())
    found = match(weights, module, source='x')
    assert_untouched(weights, before[0])
    assert_untouched(module.state_dict(), before[1])
    assert found.report.share == 1 and len(found.report.adapted) == adapted
    assert {key: value.shape for key, value in found.tensors.items()} == {
        key: value.shape for key, value in module.state_dict().items()
    }
    with torch.device('meta'):  # which has no values at all
        bare = target()
    again = match(weights, bare, source='x')
    assert again.report == found.report
    assert all(torch.equal(value, again.tensors[key]) for key, value in found.tensors.items())
    assert load_weights(module, weights).matched == found.report.matched
    assert all(torch.equal(value, found.tensors[key]) for key, value in module.state_dict().items())


def without_values(make: Callable[..., nn.Module]) -> nn.Module:
    """A network as ``to_empty`` may leave it."""
    with torch.device('meta'):
        model = make()
    model.to_empty(device='cpu')
    for tensor in model.state_dict().values():
        tensor.fill_(torch.nan)
    return model


@by_network
def test_a_network_without_values_takes_its_own_weights(make: Callable[..., nn.Module]) -> None:
    weights = make().state_dict()
    assert any(key.endswith('pos_bias') for key in weights)
    wrong = {key: value * 2 if key.endswith('pos_bias') else value for key, value in weights.items()}
    for load in (load_weights, lambda model, given: model.load_state_dict(given, strict=True)):
        model = without_values(make)
        if load is load_weights or hasattr(model, 'head'):  # timm's way is strict as well
            with pytest.raises(MismatchError, match='tensors differ'):
                load(model, wrong)
            assert all(value.isnan().all() for value in model.state_dict().values())
        load(model, weights)
        assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_a_network_on_the_meta_device_gets_memory_or_a_refusal() -> None:
    source = timm.create_model('ss_pvt_v2_b0', num_classes=5)
    given = {'model': to_pvt(source.state_dict())}
    with torch.device('meta'):
        model = timm.create_model('ss_pvt_v2_b0', num_classes=5)
    for load in (lambda: load_weights(model, given), lambda: model.load_state_dict(given)):
        with pytest.raises(CheckpointError, match='on the meta device and has no memory'):
            load()
    model.load_state_dict(given, assign=True)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())


def a_detector(backbone: nn.Module) -> nn.Module:
    detector = nn.Module()
    detector.backbone = backbone
    return detector


VIT = 'ss_vit_tiny_patch16_224'
# what loads a file of weights into a ViT for another image size, and how often torch's load_state_dict is entered
WAYS: dict[str, tuple[Callable[[Path], nn.Module], int]] = {
    'load_weights, backbone': (lambda file: load_weights(SSViT('tiny', img_size=96), file), 1),
    'load_weights, timm': (lambda file: load_weights(timm.create_model(VIT, num_classes=5, img_size=96), file), 1),
    'init_cfg': (
        lambda file: SSViT('tiny', img_size=96, init_cfg=dict(type='Pretrained', checkpoint=str(file))).init_weights(),
        1,
    ),
    'mmengine': (
        lambda file: load_state_dict(
            a_detector(SSViT('tiny', img_size=96)),
            {f'backbone.{key}': value for key, value in torch.load(file).items()},
        ),
        0,
    ),
    'checkpoint_path': (lambda file: timm.create_model(VIT, num_classes=5, img_size=96, checkpoint_path=str(file)), 1),
    'pretrained': (
        lambda file: timm.create_model(
            VIT, pretrained=True, pretrained_cfg_overlay=dict(file=str(file)), num_classes=5, img_size=96
        ),
        1,
    ),
    'features_only': (
        lambda file: timm.create_model(VIT, features_only=True, img_size=96, checkpoint_path=str(file)),
        1,
    ),
}


@pytest.mark.parametrize('way', WAYS)
def test_every_way_in_adapts_once_and_copies_no_model(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(timm.create_model(VIT, num_classes=5).state_dict(), tmp_path / 'x.pth')
    counts, deepcopy = Counter(), copy.deepcopy
    adapt_weights, load = ViT.adapt_weights, nn.Module.load_state_dict

    def counted_adapt(self: ViT, weights: dict[str, Tensor]) -> list[str]:
        counts['adapted'] += 1
        return adapt_weights(self, weights)

    def counted_load(self: nn.Module, *arguments: object, **options: object) -> object:
        counts['loaded'] += 1
        return load(self, *arguments, **options)

    def no_model(value: object, *memo: object) -> object:
        assert not isinstance(value, nn.Module)
        return deepcopy(value, *memo)

    monkeypatch.setattr(ViT, 'adapt_weights', counted_adapt)
    monkeypatch.setattr(nn.Module, 'load_state_dict', counted_load)
    monkeypatch.setattr(copy, 'deepcopy', no_model)
    call, loads = WAYS[way]
    call(tmp_path / 'x.pth')
    assert counts == Counter(adapted=1, loaded=loads)


def test_a_mismatch_carries_its_report() -> None:
    one, other = (SSPVTv2('b0', settings=[dict(pos_scale=scale)] * 8) for scale in (1, 2))
    with pytest.raises(MismatchError) as error:
        load_weights(one, other.state_dict())
    assert error.value.problem == '8 tensors differ' and len(error.value.report.matched) == len(one.state_dict()) - 8
    first = error.value.report.differences[0]
    assert first == Difference('stages.0.blocks.0.mlp.pos_bias', 2.0, 1.0)
    assert str(first) == 'stages.0.blocks.0.mlp.pos_bias (a ramp to 2 in the checkpoint, to 1 in the model)'


def test_a_mismatch_in_the_head_is_told_in_numbers() -> None:
    source, target = (timm.create_model('ss_pvt_v2_b0', num_classes=classes) for classes in (5, 7))
    report = load_weights(target, source.state_dict())
    assert report.differences == (Difference('head.weight', (5, 256), (7, 256)), Difference('head.bias', (5,), (7,)))
    assert report.wrong_shape[1] == 'head.bias ((5,) in the checkpoint, (7,) in the model)'
    assert report.not_loaded == ('head.weight', 'head.bias')


def test_mmengines_own_loading_adapts_the_first_convolution() -> None:
    source, target = SSPVTv2('b0'), SSPVTv2('b0', in_channels=4)
    weights = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    load_state_dict(a_detector(target), weights, strict=True)
    expected = 0.75 * source.patch_embed.proj.weight[:, [0, 1, 2, 0]]
    torch.testing.assert_close(target.patch_embed.proj.weight, expected)


class _Counting(nn.Module):
    """Keeps something beside tensors in its state dict, as quantised layers do."""

    count = 0

    def get_extra_state(self) -> dict[str, int]:
        return {'count': self.count}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.count = state['count']


def test_what_is_no_tensor_goes_through_mmengines_own_loading() -> None:
    source, target = a_detector(SSPVTv2('b0')), a_detector(SSPVTv2('b0'))
    for detector, count in ((source, 3), (target, 0)):
        detector.backbone.counting = _Counting()
        detector.backbone.counting.count = count
    load_state_dict(target, source.state_dict(), strict=True)
    assert target.backbone.counting.count == 3


def test_the_known_networks_are_the_classifiers_of_timm() -> None:
    known = {network.name: network for network in reversed(known_networks())}  # as each is unless asked otherwise
    assert len(known_networks()) > len(known)
    first: dict[Preset, str] = {}
    for name, preset in PRESETS.items():  # of a network with two names the first counts
        first.setdefault(replace(preset, name=''), name)
    for name in first.values():
        with torch.device('meta'):
            theirs = timm.create_model(name).state_dict()
        ours = known[name].state
        assert {key: value.shape for key, value in theirs.items()} == {key: value.shape for key, value in ours.items()}
    assert set(first.values()) == set(known)
