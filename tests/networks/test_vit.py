"""What users of mmdet and mmseg expect of the ViT backbone."""

from collections import Counter

import pytest
import torch
from mmengine.model import BaseModule
from table import VIT, Row
from torch import nn

from ss_backbones import BlockSetting, SSViT

SMALL = dict(embed_dim=32, depth=12, num_heads=2)  # tiny made narrower, for what any arch would show


def small(**arguments: object) -> SSViT:
    return SSViT(arch=SMALL, **arguments)


def without_gradient(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


@pytest.mark.parametrize('row', VIT, ids=lambda row: row.name)
def test_maps_channels_strides_and_gradients(row: Row) -> None:
    model = SSViT(arch=row.arch)
    assert isinstance(model, BaseModule) and len(model.settings) == len(model.blocks) == row.depth
    maps = model(torch.randn(2, 3, 64, 96))
    width = model.arch.embed_dim
    assert model.strides == [4, 8, 16, 32] and model.channels == [width // 4, width // 2, width, width]
    assert [m.shape for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(model.channels, model.strides, strict=True)
    ]
    assert all(m.is_contiguous() for m in maps)
    sum((m * torch.randn_like(m)).sum() for m in maps).backward()
    assert not without_gradient(model)


KINDS = {
    'pyramid': {},
    'blocks': dict(pyramid=False),
    'windows': dict(window_size=3, global_blocks=(2, -1)),
    'windows alone': dict(window_size=2, global_blocks=[]),
    'no class token': dict(class_token=False, window_size=2),
    'uniform': dict(settings='uniform'),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('size', [(1, 1), (1, 90), (16, 16), (17, 33), (31, 65), (130, 50)])
@pytest.mark.parametrize('batch', [1, 3])
def test_any_size_and_batch_with_gradients(kind: str, size: tuple[int, int], batch: int) -> None:
    model = small(**KINDS[kind], drop_path_rate=0.0)
    maps = model(torch.randn(batch, 3, *size))
    assert len(maps) == 4
    for m, channels, stride in zip(maps, model.channels, model.strides, strict=True):
        assert m.shape == (batch, channels, -(-size[0] // stride), -(-size[1] // stride)) and m.isfinite().all()
    sum(m.square().sum() for m in maps).backward()
    assert not without_gradient(model)


def test_an_empty_batch_gives_empty_maps() -> None:
    assert [m.shape[0] for m in small(window_size=2).eval()(torch.randn(0, 3, 50, 40))] == [0, 0, 0, 0]


@pytest.mark.parametrize('pyramid', [True, False])
def test_out_indices_pick_the_same_maps_and_build_no_more(pyramid: bool) -> None:
    everything = range(4) if pyramid else range(12)
    full = small(pyramid=pyramid, out_indices=everything).eval()
    x = torch.randn(1, 3, 64, 64)
    count = len(everything)
    for given in (1, (0, 2), (-3,), [0, -1]):
        taken = [i % count for i in ([given] if isinstance(given, int) else given)]
        model = small(pyramid=pyramid, out_indices=given).eval()
        assert len(model.blocks) == (12 if pyramid else max(taken) + 1)
        model.load_state_dict({key: full.state_dict()[key] for key in model.state_dict()})
        assert model.channels == [full.channels[i] for i in taken] and model.strides == [full.strides[i] for i in taken]
        for ours, i in zip(model(x), taken, strict=True):
            torch.testing.assert_close(ours, full(x)[i])


def test_blocks_of_each_quarter_by_default() -> None:
    assert small(pyramid=False).out_indices == (2, 5, 8, 11)
    assert SSViT(dict(SMALL, depth=1), pyramid=False).out_indices == (0,)


@pytest.mark.parametrize('frozen', [-1, 0, 1, 7, 12])
def test_frozen_stages_from_the_start_and_after_train(frozen: int) -> None:
    model = small(frozen_stages=frozen, drop_path_rate=0.5)
    for _ in range(2):  # first as built, then after train()
        for name, parameter in model.named_parameters():
            part = name.split('.')
            depth = {'blocks': int(part[1]) + 1 if part[0] == 'blocks' else 0, 'norm': 12, 'pyramid': 13}
            assert parameter.requires_grad == (depth.get(part[0], 0) > frozen), (frozen, name)
        assert model.train() is model
        assert [block.training for block in model.blocks] == [i >= frozen for i in range(12)]
    sum(m.square().mean() for m in model(torch.randn(1, 3, 32, 32))).backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_the_norm_is_frozen_with_all_blocks_whichever_levels_are_wanted() -> None:
    for levels in ((0, 1, 2, 3), (0, 2)):
        assert not any(p.requires_grad for p in small(frozen_stages=12, out_indices=levels).norm.parameters()), levels
    # blocks that out_indices leaves out cannot be frozen, and there is no norm then
    model = small(frozen_stages=12, pyramid=False, out_indices=5)
    assert not any(p.requires_grad for p in model.parameters())


def test_checkpointing_gives_the_same_gradients_and_recomputes() -> None:
    calls = Counter()
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = small(with_cp=with_cp, drop_path_rate=0.3, drop_rate=0.1, window_size=3)
        for block in model.blocks:
            block.register_forward_pre_hook(lambda *_, key=with_cp: calls.update([key]))
        torch.manual_seed(1)
        sum(m.square().mean() for m in model(torch.randn(2, 3, 64, 80))).backward()
        grads.append([p.grad for p in model.parameters()])
    assert calls == {False: 12, True: 24}
    torch.testing.assert_close(grads[0], grads[1])


def test_dropout_acts_in_training_only() -> None:
    x = torch.randn(1, 3, 32, 32)
    for rate in ('drop_rate', 'attn_drop_rate', 'drop_path_rate'):
        model = small(**{'drop_path_rate': 0.0, rate: 0.5})
        assert not torch.equal(model(x)[-1], model(x)[-1]), rate
        model.eval()
        assert torch.equal(model(x)[-1], model(x)[-1]), rate
    rates = [block.drop_path.drop_prob for block in small(drop_path_rate=0.55).blocks]
    assert rates == pytest.approx([0.05 * i for i in range(12)])


def test_patches_of_another_size() -> None:
    model = SSViT(dict(SMALL, patch_size=4), img_size=32, in_channels=4).eval()
    assert model.strides == [1, 2, 4, 8] and model.grid == (8, 8)
    assert [m.shape[2:] for m in model(torch.randn(1, 4, 30, 32))] == [(30, 32), (15, 16), (8, 8), (4, 4)]
    assert SSViT(SMALL, img_size=(800, 1333)).grid == (50, 84)


def test_initialisation_follows_the_paper() -> None:
    model = SSViT('tiny')
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.05) and model.cls_token.abs().max() < 1e-5
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.12) and not module.bias.any()


@pytest.mark.parametrize(
    ('arguments', 'error', 'text'),
    [
        (dict(arch='huge'), ValueError, "arch='huge' is unknown. Known are tiny, small, base"),
        (dict(arch=dict(embed_dim=8, depth=2)), ValueError, r"lacks \['num_heads'\]"),
        (dict(arch=dict(SMALL, heads=2)), ValueError, r"unknown keys \['heads'\]"),
        (dict(arch=dict(SMALL, num_heads=3)), ValueError, 'a width of 32 cannot be shared by 3 heads'),
        (dict(arch=dict(SMALL, depth=0)), ValueError, 'arch: depth=0 must be a whole number, 1 or more'),
        (dict(arch=dict(SMALL, mlp_ratio='4')), ValueError, "mlp_ratio='4' must be a finite number"),
        (dict(arch=dict(SMALL, patch_size=14)), ValueError, 'patch_size=14 cannot be quartered'),
        (dict(arch=dict(embed_dim=2, depth=1, num_heads=1)), ValueError, 'A pyramid quarters the channels'),
        (dict(settings=[BlockSetting()] * 3), ValueError, 'has 3 entries, but this architecture has 12 blocks'),
        (dict(out_indices=4), ValueError, 'out of range. There are 4 levels of the pyramid: 0 to 3'),
        (dict(pyramid=False, out_indices=12), ValueError, 'out of range. There are 12 blocks: 0 to 11'),
        (dict(out_indices=(2, 1)), ValueError, 'must rise'),
        (dict(window_size=0), ValueError, 'window_size=0 must be a whole number, 1 or more'),
        (dict(window_size=-7), ValueError, 'window_size=-7 must be'),
        (dict(window_size=7.5), ValueError, 'window_size=7.5 must be'),
        (dict(window_size=True), ValueError, 'window_size=True must be'),
        (dict(window_size=(7, 7)), ValueError, r'window_size=\(7, 7\) must be'),
        (dict(window_size=7, global_blocks=(5, 12)), ValueError, 'global_blocks=.*: 12 is out of range'),
        (dict(window_size=7, global_blocks=-13), ValueError, 'global_blocks=-13: -13 is out of range'),
        (dict(window_size=7, global_blocks='all'), ValueError, "global_blocks='all' must be a whole number or a list"),
        (dict(global_blocks=(2, 5)), ValueError, r'global_blocks=\(2, 5\) says .* give window_size as well'),
        (dict(frozen_stages=13), ValueError, 'frozen_stages=13 is out .* up to 12 the stem and so many blocks'),
        (dict(img_size=0), ValueError, 'img_size=0 must be'),
        (dict(img_size=(224,)), ValueError, r'img_size=\(224,\) must be a number of pixels, or height and width'),
        (dict(img_size='224'), ValueError, "img_size='224' must be"),
        (dict(class_token='no'), ValueError, "class_token='no' must be True or False"),
        (dict(pyramid='no'), ValueError, "pyramid='no' must be True or False"),
        (dict(drop_path_rate=1.0), ValueError, 'drop_path_rate=1.0 is a probability'),
        (dict(with_cp=1), ValueError, 'with_cp=1 must be True or False'),
        (dict(width=3), TypeError, "unexpected keyword argument 'width'"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        SSViT(**{'arch': SMALL, **arguments})


@pytest.mark.parametrize('shape', [(1, 4, 8, 8), (3, 8, 8), (8,), (1, 3, 0, 8)])
def test_bad_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r'Expected images of shape \(B, 3, H, W\)'):
        small()(torch.zeros(shape))


def test_bf16_stays_close_and_hands_out_float32() -> None:
    x = torch.randn(1, 3, 64, 80)
    plain = small(window_size=3).eval()
    half = small(window_size=3, bf16=True).eval()
    half.load_state_dict(plain.state_dict())
    seen = []
    half.blocks[0].mlp.fc1.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    for ours, theirs in zip(half(x), plain(x), strict=True):
        assert ours.dtype == torch.float32 and ours.is_contiguous()
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)
    assert seen == [torch.bfloat16]
    sum(m.square().mean() for m in half.train()(x)).backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in half.parameters())
