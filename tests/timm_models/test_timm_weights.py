"""timm's own two ways to weights, over every layout that load_weights knows."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference
import timm
import torch
from mmengine.logging import HistoryBuffer
from other_layouts import resized_by_pillow, to_pvt
from reference import needs_reference
from safetensors.torch import save_file
from timm.models import load_checkpoint, resume_checkpoint
from timm.utils import CheckpointSaver
from torch import Tensor, nn

from ss_backbones import CheckpointError, load_weights

Weights = dict[str, Tensor]
PVT, VIT = 'ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224'


def pretrained(name: str, file: Path, **arguments: object) -> nn.Module:
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=dict(file=str(file)), **arguments).eval()


def checkpoint_path(name: str, file: Path, **arguments: object) -> nn.Module:
    return timm.create_model(name, checkpoint_path=str(file), **arguments).eval()


WAYS = (pretrained, checkpoint_path)
both_ways = pytest.mark.parametrize('create', WAYS, ids=lambda way: way.__name__)
both_kinds = pytest.mark.parametrize('name', [PVT, VIT])


def noisy(model: nn.Module) -> nn.Module:
    """No tensor as any other model has it from its start."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.eval()


@pytest.fixture(scope='module')
def sources() -> dict[str, nn.Module]:
    return {name: noisy(timm.create_model(name, num_classes=5)) for name in (PVT, VIT)}


def differing(model: nn.Module, weights: Weights) -> list[str]:
    own = model.state_dict()
    return [key for key in own if key not in weights or not torch.equal(own[key], weights[key])]


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in log.records if record.levelno >= logging.WARNING]


def zeros(weights: Weights) -> Weights:
    return {key: torch.zeros_like(value) for key, value in weights.items()}


CONTAINERS: dict[str, Callable[[Weights], dict]] = {
    'flat': lambda w: w,
    'model': lambda w: {'model': w, 'args': argparse.Namespace(lr=1.0)},
    'state_dict_ema': lambda w: {'state_dict': zeros(w), 'state_dict_ema': w, 'epoch': 3},
    'model_ema': lambda w: {'model': zeros(w), 'model_ema': w},
    'data parallel': lambda w: {'state_dict': {f'module.{key}': value for key, value in w.items()}},
    'compiled': lambda w: {f'_orig_mod.{key}': value for key, value in w.items()},
    'nested': lambda w: {'module': {'model': w}},
}


@both_ways
@both_kinds
@pytest.mark.parametrize('container', CONTAINERS)
def test_containers(
    create: Callable, name: str, container: str, sources: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = sources[name].state_dict()
    torch.save(CONTAINERS[container](weights), tmp_path / 'x.pth')
    model = create(name, tmp_path / 'x.pth', num_classes=5)
    assert not differing(model, weights) and not warnings(caplog)


@both_ways
@both_kinds
def test_safetensors(create: Callable, name: str, sources: dict, tmp_path: Path) -> None:
    weights = sources[name].state_dict()
    save_file(weights, tmp_path / 'x.safetensors')
    assert not differing(create(name, tmp_path / 'x.safetensors', num_classes=5), weights)


@both_ways
@both_kinds
def test_mmengine_checkpoints(
    create: Callable, name: str, sources: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = {key: value for key, value in sources[name].state_dict().items() if not key.startswith('head.')}
    detector = {f'backbone.{key}': value for key, value in weights.items()} | {'neck.weight': torch.ones(3)}
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save(
        {
            'meta': {'epoch': 12, 'cfg': 'model = dict()'},
            'state_dict': detector,
            'ema_state_dict': {'steps': torch.tensor(7)} | {f'module.{key}': v for key, v in zeros(detector).items()},
            'message_hub': {'log_scalars': {'train/loss': history}, 'runtime_info': {}, 'resumed_keys': {}},
        },
        tmp_path / 'epoch_12.pth',
    )
    model = create(name, tmp_path / 'epoch_12.pth', num_classes=5)
    assert differing(model, weights) == ['head.weight', 'head.bias']
    assert len(warnings(caplog)) == 1 and 'missing: head.weight, head.bias' in warnings(caplog)[0]


@both_ways
def test_keys_of_whai362(create: Callable, tmp_path: Path) -> None:
    weights = noisy(timm.create_model(PVT, settings='uniform', num_classes=5)).state_dict()
    renamed = to_pvt(weights)
    assert 'block4.1.mlp.dwconv.dwconv.bias' in renamed and not any(key.startswith('stages') for key in renamed)
    torch.save(renamed, tmp_path / 'pvt_v2_b0.pth')
    assert not differing(create(PVT, tmp_path / 'pvt_v2_b0.pth', settings='uniform', num_classes=5), weights)


@both_ways
def test_keys_of_openmmlab(create: Callable, tmp_path: Path) -> None:
    pvt = noisy(
        pytest.importorskip('mmdet.models.backbones').PyramidVisionTransformerV2(embed_dims=32, num_layers=[2, 2, 2, 2])
    )
    vit = pytest.importorskip('mmseg.models.backbones').VisionTransformer(
        img_size=224, embed_dims=192, num_layers=12, num_heads=3, final_norm=True, patch_bias=True
    )
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.normal_(std=0.1)
    torch.save({'state_dict': pvt.state_dict()}, tmp_path / 'pvt.pth')
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in vit.state_dict().items()}}, tmp_path / 'vit.pth')
    ours = create(PVT, tmp_path / 'pvt.pth', settings='uniform')
    theirs = pvt.layers[3][1][1].attn.attn.in_proj_weight
    assert torch.equal(ours.stages[3].blocks[1].attn.q.weight, theirs[:256])
    assert torch.equal(ours.stages[3].blocks[1].attn.kv.weight, theirs[256:])
    assert torch.equal(ours.stages[2].blocks[1].mlp.fc1.weight, pvt.layers[2][1][1].ffn.layers[0].weight.flatten(1))
    ours = create(VIT, tmp_path / 'vit.pth', settings='uniform')
    assert torch.equal(ours.blocks[11].attn.qkv.weight, vit.layers[11].attn.attn.in_proj_weight)
    assert torch.equal(ours.norm.weight, vit.ln1.weight) and torch.equal(ours.pos_embed, vit.pos_embed)


@both_ways
@both_kinds
@pytest.mark.parametrize('channels', [1, 4])
def test_channels(
    create: Callable,
    name: str,
    channels: int,
    sources: dict,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    weights = sources[name].state_dict()
    torch.save(weights, tmp_path / 'x.pth')
    model = create(name, tmp_path / 'x.pth', num_classes=5, in_chans=channels)
    assert differing(model, weights) == ['patch_embed.proj.weight'] and not warnings(caplog)
    ours, theirs = model.patch_embed.proj.weight, weights['patch_embed.proj.weight']
    # a grey image gives what it gives as red, green and blue alike, and four equal channels what three do
    wanted = theirs.sum(1, keepdim=True) if channels == 1 else 0.75 * theirs[:, [0, 1, 2, 0]]
    torch.testing.assert_close(ours, wanted)
    assert model.in_chans == channels
    # and a model's own file for four channels goes back
    torch.save(model.state_dict(), tmp_path / 'own.pth')
    again = create(name, tmp_path / 'own.pth', num_classes=5, in_chans=channels)
    assert not differing(again, model.state_dict()) and not warnings(caplog)


@both_ways
@both_kinds
@pytest.mark.parametrize('classes', [0, 7, 1000])
def test_another_number_of_classes(
    create: Callable,
    name: str,
    classes: int,
    sources: dict,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    weights = sources[name].state_dict()
    torch.save({'model': weights}, tmp_path / 'x.pth')
    model = create(name, tmp_path / 'x.pth', num_classes=classes)
    assert differing(model, weights) == (['head.weight', 'head.bias'] if classes else [])
    if classes:
        assert model.head.out_features == classes and 0.01 < model.head.weight.std() < 0.03  # as a new one
        assert len(warnings(caplog)) == 1 and f'head.weight ((5, {model.num_features})' in warnings(caplog)[0]
    else:
        assert not warnings(caplog)


@both_kinds
@pytest.mark.parametrize(('of_the_file', 'kept'), [(1000, True), (5, True), (-1, False)])
def test_the_head_that_fits_is_kept_unless_a_new_one_is_asked_for(
    name: str, of_the_file: int, kept: bool, sources: dict, tmp_path: Path
) -> None:
    torch.save(sources[name].state_dict(), tmp_path / 'x.pth')
    overlay = dict(file=str(tmp_path / 'x.pth'), num_classes=of_the_file)  # -1 is train.py's --pretrained-path
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=5)
    assert differing(model, sources[name].state_dict()) == ([] if kept else ['head.weight', 'head.bias'])


@both_ways
@pytest.mark.parametrize(('size', 'grid'), [(96, (6, 6)), ((64, 160), (4, 10))])
def test_positions_of_another_size(
    create: Callable, size: object, grid: tuple[int, int], sources: dict, tmp_path: Path
) -> None:
    weights = sources[VIT].state_dict()
    torch.save(weights, tmp_path / 'x.pth')
    model = create(VIT, tmp_path / 'x.pth', num_classes=5, img_size=size)
    assert model.grid == grid and differing(model, weights) == ['pos_embed']
    ours, theirs = model.pos_embed.detach()[0], weights['pos_embed'][0]
    assert torch.equal(ours[0], theirs[0])
    resized = resized_by_pillow(theirs[1:].reshape(14, 14, -1), *grid).flatten(0, 1)
    torch.testing.assert_close(ours[1:], resized, rtol=1e-4, atol=1e-5)


def test_weights_for_224_in_the_model_for_384(tmp_path: Path) -> None:
    source = timm.create_model('ss_vit_base_patch16_224', num_classes=3)
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    model = pretrained('ss_vit_base_patch16_384', tmp_path / 'x.pth', num_classes=3)
    assert model.grid == (24, 24) and differing(model, source.state_dict()) == ['pos_embed']
    resized = resized_by_pillow(source.pos_embed.detach()[0, 1:].reshape(14, 14, -1), 24, 24).flatten(0, 1)
    torch.testing.assert_close(model.pos_embed.detach()[0, 1:], resized, rtol=1e-4, atol=1e-5)


@both_ways
@both_kinds
@pytest.mark.parametrize('taken', [(0, 1), (1, 3)])
@pytest.mark.parametrize('channels', [3, 1])
def test_features_only(
    create: Callable,
    name: str,
    taken: tuple[int, ...],
    channels: int,
    sources: dict,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.save({'model': sources[name].state_dict()}, tmp_path / 'x.pth')
    model = create(name, tmp_path / 'x.pth', features_only=True, out_indices=taken, in_chans=channels)
    assert not warnings(caplog)
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        wanted = sources[name].forward_intermediates(grey.expand(-1, 3, -1, -1), list(taken), intermediates_only=True)
        for ours, theirs in zip(model(grey.expand(-1, channels, -1, -1)), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    # its own state dict goes back as it is
    again = timm.create_model(name, features_only=True, out_indices=taken, in_chans=channels)
    assert not again.load_state_dict(model.state_dict()).missing_keys
    assert not differing(again, model.state_dict())


@pytest.mark.parametrize(
    ('name', 'other'),
    [
        (PVT, dict(model_name='ss_pvt_v2_b1')),
        (PVT, dict(settings='uniform')),
        (PVT, dict(settings=[dict(pos_scale=1.0)] * 8)),
        (VIT, dict(model_name='ss_vit_small_patch16_224')),
        (VIT, dict(settings='uniform')),
        (VIT, dict(model_name='resnet18')),
    ],
)
@both_ways
def test_other_networks_are_refused(create: Callable, name: str, other: dict, tmp_path: Path) -> None:
    source = timm.create_model(**{'model_name': name, 'num_classes': 5, **other})
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    for features_only in (False, True):
        with pytest.raises(CheckpointError, match=r'Nothing was loaded: (nothing fits|only \d+% of the model matches)'):
            create(name, tmp_path / 'x.pth', features_only=features_only)


def test_a_ramp_of_other_settings_is_refused_where_all_else_is_alike(tmp_path: Path) -> None:
    one, other = (timm.create_model(PVT, num_classes=5, settings=[dict(pos_scale=s)] * 8) for s in (1.0, 2.0))
    shapes = {key: value.shape for key, value in one.state_dict().items()}
    assert shapes == {key: value.shape for key, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match='8 tensors differ'):
        one.load_state_dict(other.state_dict())
    half = {key: value.half() for key, value in one.state_dict().items()}
    one.load_state_dict(half)  # the same ramps, rounded


@both_kinds
def test_a_refusal_changes_nothing(name: str, sources: dict) -> None:
    model = timm.create_model(name, num_classes=5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    lacking = dict(sources[name].state_dict())
    del lacking['patch_embed.proj.bias']
    with pytest.raises(CheckpointError, match='the checkpoint lacks 1 tensors beside the head'):
        model.load_state_dict(lacking)
    with pytest.raises(CheckpointError, match='nothing fits'):
        model.load_state_dict({'a': torch.ones(1)})
    assert not differing(model, before)
    # without strict it is torch's own loading, which says what it did
    result = model.load_state_dict({'head.bias': torch.ones(5), 'a': torch.ones(1)}, strict=False)
    assert result.unexpected_keys == ['a'] and len(result.missing_keys) == len(before) - 1
    assert torch.equal(model.head.bias, torch.ones(5))


@both_kinds
def test_a_training_run_resumes(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def start() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = timm.create_model(name, num_classes=5, img_size=32) if name == VIT else timm.create_model(name)
        return model, torch.optim.AdamW(model.parameters(), 1e-3)

    model, optimizer = start()
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    args = argparse.Namespace(model=name)
    CheckpointSaver(model, optimizer, args=args, checkpoint_dir=str(tmp_path)).save_checkpoint(4, metric=1.0)
    resumed, its_optimizer = start()
    assert resume_checkpoint(resumed, str(tmp_path / 'last.pth.tar'), its_optimizer, log_info=False) == 5
    assert not differing(resumed, model.state_dict()) and not warnings(caplog)
    assert its_optimizer.state_dict()['state'].keys() == optimizer.state_dict()['state'].keys()
    validated, _ = start()
    load_checkpoint(validated, str(tmp_path / 'last.pth.tar'))  # as timm's validate.py does
    assert not differing(validated, model.state_dict())


def test_a_model_on_the_meta_device_takes_its_own_weights(sources: dict) -> None:
    with torch.device('meta'):
        model = timm.create_model(PVT, num_classes=5)
    model.load_state_dict(sources[PVT].state_dict(), assign=True)
    assert not differing(model, sources[PVT].state_dict())


@needs_reference
@both_kinds
@pytest.mark.parametrize('way', ['load_weights', *(way.__name__ for way in WAYS)])
def test_the_official_logits(name: str, way: str, tmp_path: Path) -> None:
    model = timm.create_model(name, dtype=torch.float64).eval()
    assert all(tensor.dtype == torch.float64 for tensor in model.state_dict().values())
    checkpoint = {'model': reference.weights(name, model)}
    if way == 'load_weights':
        assert load_weights(model, checkpoint).share == 1
    else:
        torch.save(checkpoint, tmp_path / 'x.pth')
        model = globals()[way](name, tmp_path / 'x.pth', dtype=torch.float64)
    with torch.no_grad():
        for image, logits, _ in reference.cases(name):
            np.testing.assert_allclose(model(image).numpy(), logits, rtol=1e-9, atol=1e-11)
