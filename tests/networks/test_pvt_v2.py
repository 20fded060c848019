"""What users of mmdet and mmseg expect of a backbone, over all architectures."""

from collections import Counter

import pytest
import torch
from mmcv.ops import roi_align
from mmengine.model import BaseModule
from table import ARCHS, PVT_V2, Row
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ss_backbones import BlockSetting, SSPVTv2

SMALL = dict(embed_dims=(16, 32, 40, 64), depths=(2, 2, 2, 2))  # b0 with narrower stages, for what any arch would show


def small(**arguments: object) -> SSPVTv2:
    return SSPVTv2(arch=SMALL, **arguments)


@pytest.mark.parametrize('row', PVT_V2, ids=lambda row: row.arch)
def test_maps_channels_strides_and_gradients(row: Row) -> None:
    model = SSPVTv2(arch=row.arch)
    assert isinstance(model, BaseModule) and len(model.settings) == row.depth
    maps = model(torch.randn(2, 3, 64, 96))
    assert isinstance(maps, tuple) and model.strides == [4, 8, 16, 32]
    assert [m.shape for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(model.channels, model.strides, strict=True)
    ]
    sum((m * torch.randn_like(m)).sum() for m in maps).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without


@pytest.mark.parametrize('arch', ['b0', 'b2_li'])
@pytest.mark.parametrize('size', [(1, 1), (1, 40), (8, 8), (17, 33), (31, 31), (63, 65)])
def test_any_size(arch: str, size: tuple[int, int]) -> None:
    model = SSPVTv2(arch=arch).eval()
    with torch.no_grad():
        maps = model(torch.randn(1, 3, *size))
    for m, stride in zip(maps, model.strides, strict=True):
        assert m.shape[2:] == (-(-size[0] // stride), -(-size[1] // stride)) and m.isfinite().all()


def test_a_training_step_on_one_pixel_reaches_every_parameter() -> None:
    model = small(drop_path_rate=0.0)
    sum(m.square().sum() for m in model(torch.randn(2, 3, 1, 1))).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_out_indices_pick_the_same_maps_and_build_no_more() -> None:
    full = small().eval()
    x = torch.randn(1, 3, 64, 64)
    for given, taken in ((1, [1]), ((0, 2), [0, 2]), ((-3,), [1]), ([0, -1], [0, 3])):
        model = small(out_indices=given).eval()
        assert len(model.stages) == max(taken) + 1
        model.load_state_dict({k: v for k, v in full.state_dict().items() if k in model.state_dict()})
        maps = model(x)
        assert model.channels == [full.channels[i] for i in taken] and model.strides == [full.strides[i] for i in taken]
        for ours, i in zip(maps, taken, strict=True):
            torch.testing.assert_close(ours, full(x)[i])


@pytest.mark.parametrize('frozen', [-1, 0, 1, 2, 3, 4])
def test_frozen_stages_from_the_start_and_after_train(frozen: int) -> None:
    model = small(frozen_stages=frozen, drop_path_rate=0.5)
    parts = [model.patch_embed, *model.stages]
    for _ in range(2):  # first as built, then after train()
        for i, part in enumerate(parts):
            still = i <= frozen
            assert all(p.requires_grad != still for p in part.parameters()), (frozen, i)
        assert model.train() is model
        assert [part.training for part in parts] == [i > frozen for i in range(5)]


def test_checkpointing_gives_the_same_gradients_and_recomputes() -> None:
    calls = Counter()
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = small(with_cp=with_cp, drop_path_rate=0.3, drop_rate=0.1)
        for block in (block for stage in model.stages for block in stage.blocks):
            block.register_forward_pre_hook(lambda *_, key=with_cp: calls.update([key]))
        torch.manual_seed(1)
        sum(m.square().mean() for m in model(torch.randn(2, 3, 64, 64))).backward()
        grads.append([p.grad for p in model.parameters()])
    assert calls == {False: 8, True: 16}  # every block ran again in the backward pass
    torch.testing.assert_close(grads[0], grads[1])


def test_drop_path_rises_linearly_over_all_blocks() -> None:
    model = small(drop_path_rate=0.7)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


def test_dropout_acts_in_training_only() -> None:
    x = torch.randn(1, 3, 32, 32)
    for rate in ('drop_rate', 'attn_drop_rate', 'drop_path_rate'):
        model = small(**{'drop_path_rate': 0.0, rate: 0.5})
        assert not torch.equal(model(x)[-1], model(x)[-1]), rate
        model.eval()
        assert torch.equal(model(x)[-1], model(x)[-1]), rate


@pytest.mark.parametrize('arch', ['b0', 'b2_li'])
def test_an_empty_batch_gives_empty_maps(arch: str) -> None:
    assert [m.shape[0] for m in SSPVTv2(arch).eval()(torch.randn(0, 3, 33, 40))] == [0, 0, 0, 0]


@pytest.mark.parametrize('channels', [1, 4])
def test_in_channels(channels: int) -> None:
    model = small(in_channels=channels)
    assert model(torch.randn(1, channels, 32, 32))[0].shape == (1, 16, 8, 8)


def test_arch_as_a_dict_with_three_stages() -> None:
    arch = dict(
        embed_dims=(8, 16, 24), depths=(1, 2, 1), num_heads=(1, 2, 3), sr_ratios=(4, 2, 1), mlp_ratios=(4, 4, 4)
    )
    model = SSPVTv2(arch=arch, out_indices=(0, 1, 2))
    assert model.channels == [8, 16, 24] and len(model.settings) == 4


def test_settings_as_a_list_of_dicts() -> None:
    model = small(settings=[dict(mlp_ratio=2 + i) for i in range(8)])
    widths = [block.mlp.fc1.out_features for stage in model.stages for block in stage.blocks]
    assert widths == [32, 48, 128, 160, 240, 280, 512, 576]


def test_roi_align_reads_the_maps_rightly() -> None:
    # mmcv's RoIAlign takes the memory as contiguous. Channels-last maps would give it wrong numbers, without a word.
    feature = small().eval()(torch.randn(1, 3, 64, 64))[0].detach()
    assert feature.is_contiguous()
    whole = roi_align(feature, torch.tensor([[0.0, 0.0, 0.0, 16.0, 16.0]]), (1, 1), 1.0, 16, 'avg', False)
    torch.testing.assert_close(whole[0, :, 0, 0], feature[0].mean(dim=(1, 2)), rtol=0.2, atol=0.1)


class _Operations(TorchDispatchMode):
    """Notes each operator with the shape of its first result."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, tuple | list) else out
        self.seen.append((func.overloadpacket.__name__, tuple(first.shape)))
        return out


@pytest.mark.parametrize('training', [False, True])
def test_no_copy_between_layouts_and_no_pass_for_the_ramp(training: bool) -> None:
    model = SSPVTv2('b0', drop_path_rate=0.0).train(training)
    with _Operations() as operations, torch.set_grad_enabled(training):
        model(torch.randn(1, 3, 128, 192))
    # One copy makes the image channels-last, and one each hands a map to OpenMMLab.
    assert sum(name in ('clone', 'copy_', '_to_copy', 'contiguous') for name, _ in operations.seen) == 1 + 4
    hidden = {int(dim * s.mlp_ratio) for dim, s in zip(_widths(model), model.settings, strict=True)}
    added = [shape for name, shape in operations.seen if name in ('add', 'add_') and len(shape) > 1]
    assert added and not [shape for shape in added if shape[-1] in hidden - set(_widths(model))]
    assert any(name.startswith('_scaled_dot_product') for name, _ in operations.seen)


def _widths(model: SSPVTv2) -> list[int]:
    return [dim for dim, depth in zip(model.arch.embed_dims, model.arch.depths, strict=True) for _ in range(depth)]


def test_initialisation_follows_the_paper() -> None:
    model = SSPVTv2('b1')
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2 / module.groups
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.12)
        elif isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.12)
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert not module.bias.any()


@pytest.mark.parametrize(
    ('arguments', 'error', 'text'),
    [
        (dict(arch='b9'), ValueError, "arch='b9' is unknown. Known are b0, b1, b2, b2_li, b3, b4, b5"),
        (dict(arch=3), TypeError, 'arch must be one of'),
        (dict(arch=dict(SMALL, width=3)), ValueError, r"unknown keys \['width'\]"),
        (dict(arch=dict(depths=(1, 1))), ValueError, r"lacks \['embed_dims'\]"),
        (dict(arch=dict(embed_dims=(8,), depths=(1,))), ValueError, 'needs one entry a stage'),
        (dict(arch=dict(SMALL, embed_dims=(15, 31, 41, 65))), ValueError, 'cannot be shared by 2 heads'),
        (dict(arch=dict(SMALL, depths=(1, 0, 1, 1))), ValueError, 'must hold positive whole numbers'),
        (dict(settings='special'), ValueError, "settings='special' is unknown"),
        (dict(settings=[BlockSetting()] * 3), ValueError, 'has 3 entries, but this architecture has 8 blocks'),
        (dict(settings=[dict(attn_split=0.5, attn_ratio=0.5)] * 8), ValueError, 'needs attn_ratio=1'),
        (dict(settings=[dict(attn_ratio=0.01)] * 8), ValueError, 'attn_ratio=0.01 leaves a head'),
        (dict(out_indices=4), ValueError, 'out of range. There are 4 stages: 0 to 3'),
        (dict(out_indices=(0, -5)), ValueError, '-5 is out of range'),
        (dict(out_indices=(2, 1)), ValueError, 'must rise'),
        (dict(out_indices=()), ValueError, 'is empty'),
        (dict(frozen_stages=5), ValueError, 'frozen_stages=5 is out of range'),
        (dict(frozen_stages=-2), ValueError, 'frozen_stages=-2 is out of range'),
        (dict(in_channels=0), ValueError, 'in_channels=0 must be'),
        (dict(drop_path_rate=1.0), ValueError, r'drop_path_rate=1.0 is a probability and must lie in \[0, 1\)'),
        (dict(drop_rate='0'), ValueError, "drop_rate='0' is a probability"),
        (dict(attn_drop_rate=-0.1), ValueError, 'attn_drop_rate=-0.1 is a probability'),
        (dict(arch=dict(SMALL, linear='no')), ValueError, "linear='no' must be True or False"),
        (dict(arch=dict(embed_dims=32, depths=2)), ValueError, 'embed_dims=32 must be a list'),
        (dict(arch=dict(SMALL, mlp_ratios=('4',) * 4)), ValueError, 'must hold positive numbers'),
        (dict(settings=[dict(mlp_ratio=0.001)] * 8), ValueError, 'mlp_ratio=0.001 makes 0 hidden channels'),
        (dict(out_indices=None), ValueError, 'out_indices=None must be a whole number or a list'),
        (dict(with_cp='False'), ValueError, "with_cp='False' must be True or False"),
        (dict(bf16='no'), ValueError, "bf16='no' must be True or False"),
        (dict(width=3), TypeError, "unexpected keyword argument 'width'"),
    ],
)
def test_bad_arguments(arguments: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        SSPVTv2(**arguments)


@pytest.mark.parametrize('shape', [(1, 4, 8, 8), (3, 8, 8), (1, 3, 0, 8)])
def test_bad_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r'Expected images of shape \(B, 3, H, W\)'):
        small()(torch.zeros(shape))


@pytest.mark.parametrize('arch', ARCHS)
def test_ss_is_lighter_than_its_plain_twin(arch: str) -> None:
    with torch.device('meta'):
        ours, plain = SSPVTv2(arch), SSPVTv2(arch, settings='uniform')
    assert sum(p.numel() for p in ours.parameters()) < sum(p.numel() for p in plain.parameters())


def test_bf16_stays_close_and_hands_out_float32() -> None:
    x = torch.randn(1, 3, 64, 64)
    plain = small().eval()
    half = small(bf16=True).eval()
    half.load_state_dict(plain.state_dict())
    seen = []
    half.stages[0].blocks[0].mlp.fc1.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    for ours, theirs in zip(half(x), plain(x), strict=True):
        assert ours.dtype == torch.float32 and ours.is_contiguous()
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)
    assert seen == [torch.bfloat16]
    sum(m.square().mean() for m in half.train()(x)).backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in half.parameters())
