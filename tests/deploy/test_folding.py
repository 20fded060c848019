"""Folded models give what they were folded from gives, and their weights are never mixed with others."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import timm
import torch
from mmengine.runner.checkpoint import load_checkpoint
from safetensors.torch import load_file, save_file
from small_networks import classifier_on_meta
from table import MODELS, PVT_V2, SWIN, Row
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from ss_backbones import BlockSetting, CheckpointError, SSPVTv2, SSSwin, SSViT, fold, load_weights
from ss_backbones.networks import PVTv2, ViT

# Blocks of every kind: with a ramp and a split, with one of them and with none; both activations; narrow attention.
SETTINGS = [
    BlockSetting(mlp_ratio=3.0, act='ReLU', attn_ratio=0.5),
    BlockSetting(mlp_ratio=3.5, mlp_split=0.5),
    BlockSetting(pos_scale=1.5),
    BlockSetting(mlp_split=0.25, pos_scale=2.0, act='ReLU'),
]
MIXERS = [
    BlockSetting(mixer='conv3x3', pos_scale=1.0, mlp_split=0.5),
    BlockSetting(mixer='conv1x1', hidden=11),
    BlockSetting(mixer='skip', act='ReLU'),
    BlockSetting(),
]
PVT = dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4), sr_ratios=(8, 4, 2, 1))
VIT = dict(embed_dim=16, depth=4, num_heads=2)
SWIN_ARCH = dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4))


class Detector(nn.Module):
    """What a detector is to its backbone: a holder, with layers of its own."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.bbox_head = nn.Sequential(nn.Conv2d(backbone.channels[-1], 4, 1), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.bbox_head(self.backbone(x)[-1].mean((2, 3), keepdim=True))


def pvt(**arguments: object) -> SSPVTv2:
    return SSPVTv2(**(dict(arch=PVT, settings=SETTINGS) | arguments))


def vit(**arguments: object) -> SSViT:
    return SSViT(**(dict(arch=VIT, settings=SETTINGS, img_size=32) | arguments))


def timm_model(name: str, **arguments: object) -> nn.Module:
    return timm.create_model(name, settings=SETTINGS, num_classes=3, **arguments)


KINDS: dict[str, Callable[[], nn.Module]] = {
    'pvt': pvt,
    'pvt linear': lambda: pvt(arch=PVT | dict(linear=True)),
    'pvt ufo': lambda: pvt(linear_stages=(0, 2)),
    'pvt specific': lambda: pvt(arch=PVT | dict(depths=(2, 2, 2, 2)), settings='specific'),
    'pvt uniform': lambda: pvt(settings='uniform'),
    'pvt first stages': lambda: pvt(out_indices=(0, 1)),
    'pvt frozen, dropout, recomputed': lambda: pvt(
        frozen_stages=2, drop_rate=0.3, attn_drop_rate=0.3, drop_path_rate=0.3, with_cp=True
    ),
    'swin': lambda: SSSwin(SWIN_ARCH, SETTINGS, img_size=64, window_size=3),
    'swin mixers': lambda: SSSwin(SWIN_ARCH, MIXERS, img_size=64, window_size=3, drop_rate=0.3),
    'vit': vit,
    'vit mixers': lambda: vit(settings=MIXERS),
    'vit fused mixers': lambda: vit(settings=MIXERS, fused=True),
    'vit windows': lambda: vit(window_size=3, global_blocks=(-1,)),
    'vit ufo': lambda: vit(linear_blocks=(0, 3)),
    'vit tokens': lambda: vit(pyramid=False, out_indices=(0, 2), class_token=False),
    'network pvt': lambda: PVTv2(PVT, SETTINGS),
    'detector': lambda: Detector(pvt()),
    'timm pvt': lambda: timm_model('ss_pvt_v2_b0', arch=PVT),
    'timm vit': lambda: timm_model('ss_vit_tiny_patch16_224', arch=VIT, img_size=32),
}
TWO = ('pvt', 'timm vit')  # one behind mmengine's ways to weights, one behind timm's


def noisy(model: nn.Module) -> nn.Module:
    """In evaluation, with no scale 1, no shift 0 and no bias 0, as there are in a new model."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(0.5 * torch.randn_like(parameter) + name.endswith('weight'))
            else:
                parameter.normal_(std=0.5 * parameter[0].numel() ** -0.5)
        for name, buffer in model.named_buffers():
            if name.endswith(('running_mean', 'running_var')):
                buffer.uniform_(0.5, 1.5)
    return model.eval()


def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        maps = model.forward_tokens(x)[0] if type(model) is ViT else model(x)
    return [maps] if isinstance(maps, Tensor) else list(maps)


def difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    """The largest of all outputs, relative to each one's largest magnitude."""
    pairs = zip(outputs(one, x), outputs(other, x), strict=True)
    return max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('kind', KINDS)
def test_same_outputs(kind: str, dtype: torch.dtype) -> None:
    model = noisy(KINDS[kind]()).to(dtype)
    folded = fold(model)
    # The second is smaller than the kernels of the reducing convolutions, whose input then has its border repeated.
    for height, width in ((70, 97), (9, 20)):
        x = torch.randn(2, 3, height, width, dtype=dtype)
        assert difference(model, folded, x) <= (1e-6 if dtype == torch.float32 else 1e-12)
    assert all(p.dtype == dtype and not p.requires_grad for p in folded.parameters())


@pytest.mark.parametrize('row', MODELS, ids=lambda row: row.name)
def test_every_model_is_left_with_its_outer_norms(row: Row) -> None:
    model = classifier_on_meta(row.name)
    keys = set(model.state_dict())
    folded = fold(model)
    gone, new = keys - folded.state_dict().keys(), folded.state_dict().keys() - keys
    # Counted from the settings: two norms a block and that of its reduction; a GELU is behind that of b2_li,
    # and padding behind Swin's first.
    sr = sum(n for n, r in zip(model.arch.depths, model.arch.sr_ratios, strict=True) if r > 1) if row in PVT_V2 else 0
    norms = row.depth if row in SWIN else 2 * row.depth + (0 if row.arch == 'b2_li' else sr)
    ramps = [setting for setting in model.settings if setting.pos_scale]
    assert len(gone) == 2 * norms + len(ramps)
    past = [key for key in new if key.endswith('.mlp.past_bias')]
    assert len(past) == sum(setting.mlp_split > 0 for setting in ramps) > 0
    assert len(new) == row.depth + len(past) and set(model.state_dict()) == keys
    assert {key: p.shape for key, p in model.named_parameters() if key not in gone} == {
        key: p.shape for key, p in folded.named_parameters()
    }


@pytest.mark.parametrize('kind', ['pvt', 'vit', 'detector'])
def test_the_model_is_left_as_it_is(kind: str) -> None:
    model = noisy(KINDS[kind]())
    x = torch.randn(1, 3, 40, 40)
    state, before, shown = copy.deepcopy(model.state_dict()), outputs(model, x), str(model)
    folded = fold(model)
    with torch.no_grad():
        for tensor in (*folded.parameters(), *folded.buffers()):
            tensor.zero_()
    assert equal(state, model.state_dict()) and str(model) == shown
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, x), strict=True))
    assert all(p.requires_grad for p in model.parameters())
    model.train()


@pytest.mark.parametrize('kind', ['pvt', 'pvt linear', 'vit'])
def test_nothing_of_a_folded_norm_or_ramp_is_left(kind: str) -> None:
    folded = fold(noisy(KINDS[kind]()))
    names = ('norm1', 'norm2') if kind == 'pvt linear' else ('norm1', 'norm2', 'attn.norm')
    norms = [m for name, m in folded.named_modules() if name.endswith(names)]
    assert len(norms) >= 8 and all(torch.all(n.weight == 1) and torch.all(n.bias == 0) for n in norms)
    assert not any(getattr(m, 'pos_bias', None) is not None for m in folded.modules())


def test_bf16_is_the_backbones_own() -> None:
    of_folded, of_model = 0.0, 0.0
    for _ in range(4):
        model = noisy(pvt(bf16=True))
        folded, x = fold(model), torch.randn(2, 3, 70, 97)
        assert all(m.dtype == torch.float32 for m in outputs(folded, x))
        assert all(p.dtype == torch.float32 for p in folded.parameters())
        exact = noisy(pvt())
        exact.load_state_dict(model.state_dict())
        of_folded += difference(exact, folded, x)
        of_model += difference(exact, model, x)
    # Rounding to 8 bits is all that may be in it: on average it is as near to float32 as the model itself. How near
    # one of them is depends on its weights and on the processor.
    assert of_folded < 2 * of_model


def test_half_precision_stays() -> None:
    model = noisy(pvt())
    half = fold(copy.deepcopy(model).to(torch.bfloat16))
    floats = [t for t in (*half.parameters(), *half.buffers()) if t.is_floating_point()]
    assert floats and all(t.dtype == torch.bfloat16 for t in floats)
    for a, b in zip(half.parameters(), fold(model).parameters(), strict=True):
        torch.testing.assert_close(a.float(), b, rtol=0.05, atol=0.05)
    assert all(m.isfinite().all() for m in outputs(half, torch.randn(1, 3, 40, 40, dtype=torch.bfloat16)))


def test_folding_twice_and_in_part() -> None:
    model = noisy(pvt())
    folded, x = fold(model), torch.randn(1, 3, 40, 40)
    again = fold(folded)
    assert equal(folded.state_dict(), again.state_dict()) and difference(folded, again, x) == 0
    both = nn.ModuleList((folded, model)).eval()
    assert equal(fold(both)[1].state_dict(), folded.state_dict())


def test_gradients_of_the_image() -> None:
    model = noisy(pvt()).double()
    grads = []
    for network in (model, fold(model)):
        x = torch.linspace(-1, 1, 3 * 40 * 50, dtype=torch.float64).reshape(1, 3, 40, 50).requires_grad_()
        sum(m.square().sum() for m in network(x)).backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12 * grads[0].abs().max().item())


# What is refused.


@pytest.mark.parametrize('kind', ['pvt', 'detector', 'timm vit', 'pvt frozen, dropout, recomputed'])
def test_training_mode_is_refused(kind: str) -> None:
    model = KINDS[kind]()
    with pytest.raises(ValueError, match=r'in training mode.* Call eval\(\) first'):
        fold(model.train())
    folded = fold(model.eval())
    with pytest.raises(RuntimeError, match='A folded model cannot be trained'):
        folded.train()
    assert not folded.train(False).training and not any(m.training for m in folded.modules())


def test_a_block_in_training_inside_a_model_in_evaluation_is_refused() -> None:
    model = pvt().eval()
    model.stages[1].blocks[0].mlp.drop.train()
    with pytest.raises(ValueError, match='in training mode'):
        fold(model)


def test_what_cannot_be_folded() -> None:
    with pytest.raises(ValueError, match='Sequential has no block of this package, so there is nothing to fold'):
        fold(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)).eval())
    with pytest.raises(TypeError, match='fold takes a model, not OrderedDict'):
        fold(pvt().state_dict())


CHANGES: dict[str, Callable[[SSViT], object]] = {
    'pruned': lambda m: prune.l1_unstructured(m.blocks[2].mlp.fc1, 'weight', amount=0.5),
    'parametrised': lambda m: parametrizations.weight_norm(m.blocks[3].attn.qkv),
    'pruned behind a ramp': lambda m: prune.l1_unstructured(m.blocks[2].mlp.fc2, 'weight', amount=0.5),
    'another layer': lambda m: setattr(m.blocks[1].mlp, 'fc1', nn.Sequential(m.blocks[1].mlp.fc1)),
}


@pytest.mark.parametrize('change', CHANGES)
def test_layers_that_are_no_longer_plain_are_refused(change: str) -> None:
    model = vit()
    CHANGES[change](model)
    model.eval()
    with pytest.raises(ValueError, match='no longer the plain layer that the network was built with'):
        fold(model)


@pytest.mark.parametrize(('part', 'what'), [('attn', 'attention'), ('mlp', 'MLP')])
def test_foreign_parts_are_refused(part: str, what: str) -> None:
    model = vit()
    setattr(model.blocks[1], part, nn.Identity())
    model.eval()
    with pytest.raises(ValueError, match=f'Identity for its {what}, which cannot be folded'):
        fold(model)


# State dicts.

Load = Callable[[nn.Module, Path], object]
LOADERS: dict[str, Load] = {
    'torch, strict': lambda m, file: m.load_state_dict(torch.load(file)),
    'torch, not strict': lambda m, file: m.load_state_dict(torch.load(file), strict=False),
    'load_weights': load_weights,
    'load_weights, partial': lambda m, file: load_weights(m, file, partial=True),
    'mmengine': lambda m, file: load_checkpoint(m, str(file), logger='silent'),
    'timm': lambda m, file: timm.models.load_checkpoint(m, str(file)),
    'timm, not strict': lambda m, file: timm.models.load_checkpoint(m, str(file), strict=False),
}


OTHER_WAYS = [loader for loader in LOADERS if not loader.startswith('load_weights')]  # that is for the networks alone


@pytest.mark.parametrize(
    ('kind', 'loader'),
    [
        *((kind, loader) for kind in ('pvt', 'timm vit', 'network pvt') for loader in LOADERS),
        *(('detector', loader) for loader in OTHER_WAYS),
    ],
)
def test_weights_of_the_other_kind_are_refused(kind: str, loader: str, tmp_path: Path) -> None:
    raw = noisy(KINDS[kind]())
    folded = fold(raw)
    for source, target, text in (
        (folded, noisy(KINDS[kind]()), 'is of a folded model, and this model is not folded'),
        (raw, fold(noisy(KINDS[kind]())), 'is not of a folded model, and this model is folded'),
    ):
        torch.save(source.state_dict(), tmp_path / 'weights.pth')
        blocks = {key: value.clone() for key, value in target.state_dict().items() if 'blocks.' in key}
        with pytest.raises(CheckpointError, match=text):
            LOADERS[loader](target, tmp_path / 'weights.pth')
        assert all(torch.equal(value, target.state_dict()[key]) for key, value in blocks.items())


@pytest.mark.parametrize('loader', LOADERS)
@pytest.mark.parametrize('kind', TWO)
def test_weights_of_the_same_kind_are_taken(kind: str, loader: str, tmp_path: Path) -> None:
    source = fold(noisy(KINDS[kind]()))
    target = fold(noisy(KINDS[kind]()))
    torch.save(source.state_dict(), tmp_path / 'weights.pth')
    assert not equal(source.state_dict(), target.state_dict())
    LOADERS[loader](target, tmp_path / 'weights.pth')
    assert equal(source.state_dict(), target.state_dict())
    assert difference(source, target, torch.randn(1, 3, 40, 40)) == 0


def test_init_cfg_refuses_folded_weights(tmp_path: Path) -> None:
    torch.save(fold(noisy(pvt())).state_dict(), tmp_path / 'folded.pth')
    model = pvt(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'folded.pth')))
    with pytest.raises(CheckpointError, match=r'folded\.pth is of a folded model'):
        model.init_weights()


@pytest.mark.parametrize('file', ['weights.safetensors', 'weights.pth'])
@pytest.mark.parametrize('prefix', ['module.', 'model.backbone.'])
def test_the_mark_goes_through_files_and_prefixes(prefix: str, file: str, tmp_path: Path) -> None:
    source = fold(noisy(pvt()))
    tensors = {prefix + key: value for key, value in source.state_dict().items()}
    (save_file if file.endswith('.safetensors') else torch.save)(tensors, tmp_path / file)
    target = fold(noisy(pvt()))
    assert load_weights(target, tmp_path / file).share == 1 and equal(source.state_dict(), target.state_dict())
    with pytest.raises(CheckpointError, match='is of a folded model'):
        load_weights(pvt(), tmp_path / file)


def test_safetensors_keep_the_mark_without_a_prefix(tmp_path: Path) -> None:
    save_file(fold(noisy(vit())).state_dict(), tmp_path / 'weights.safetensors')
    with pytest.raises(CheckpointError, match='is of a folded model'):
        vit().load_state_dict(load_file(tmp_path / 'weights.safetensors'), strict=False)


def test_weights_beside_the_blocks_are_taken() -> None:
    source, target = noisy(Detector(pvt())), fold(noisy(Detector(pvt())))
    head = {key: value for key, value in source.state_dict().items() if key.startswith('bbox_head.')}
    target.load_state_dict(head, strict=False)
    assert torch.equal(target.bbox_head[0].weight, source.bbox_head[0].weight)


def test_fewer_stages_take_their_part_of_folded_weights() -> None:
    source, target = fold(noisy(pvt())), fold(noisy(pvt(out_indices=(0, 1))))
    assert load_weights(target, source.state_dict()).share == 1
    with pytest.raises(CheckpointError, match='is of a folded model'):
        load_weights(pvt(out_indices=(0, 1)), source.state_dict())


def test_a_whole_model_is_saved_and_loaded(tmp_path: Path) -> None:
    folded, x = fold(noisy(vit())), torch.randn(1, 3, 40, 40)
    torch.save(folded, tmp_path / 'model.pth')
    loaded = torch.load(tmp_path / 'model.pth', weights_only=False)
    assert difference(folded, loaded, x) == 0 and difference(folded, copy.deepcopy(folded), x) == 0
    with pytest.raises(RuntimeError, match='cannot be trained'):
        loaded.train()
