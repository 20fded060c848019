"""What PVTv2 has beside what test_backbones.py asks of every network."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ss_backbones import SSPVTv2

SMALL = dict(embed_dims=(16, 32, 40, 64), depths=(2, 2, 2, 2))  # b0 with narrower stages, for what any arch would show


def small(**arguments: object) -> SSPVTv2:
    return SSPVTv2(arch=SMALL, **arguments)


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


@pytest.mark.parametrize('frozen', [-1, 0, 2, 4])
def test_frozen_stages_are_the_stages(frozen: int) -> None:
    for name, parameter in small(frozen_stages=frozen).named_parameters():
        part = 0 if name.startswith('patch_embed.') else int(name.split('.')[1]) + 1
        assert parameter.requires_grad == (part > frozen), name


def test_a_downsampling_learns_with_the_block_after_it_and_a_norm_with_the_one_before() -> None:
    model = small()
    for stage in range(4):
        names = [*[f'stages.{stage}.downsample.proj.weight'] * bool(stage), f'stages.{stage}.norm.weight']
        layers = [2 * stage + 1] * bool(stage) + [2 * stage + 2]
        assert [model.get_layer_depth(name) for name in names] == [(layer, 10) for layer in layers]


def test_roi_align_reads_the_maps_rightly() -> None:
    # mmcv's RoIAlign takes the memory as contiguous. Channels-last maps would give it wrong numbers, without a word.
    feature = small().eval()(torch.randn(1, 3, 64, 64))[0].detach()
    assert feature.is_contiguous()
    roi_align = pytest.importorskip('mmcv.ops').roi_align
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
    ('arguments', 'text'),
    [
        (dict(arch='b9'), "arch='b9' is unknown. Known are b0, b1, b2, b2_li, b3, b4, b5"),
        (dict(arch=dict(SMALL, width=3)), r"unknown keys \['width'\]"),
        (dict(arch=dict(depths=(1, 1))), r"lacks \['embed_dims'\]"),
        (dict(arch=dict(embed_dims=(8,), depths=(1,))), 'needs one entry a stage'),
        (dict(arch=dict(SMALL, embed_dims=(15, 31, 41, 65))), 'cannot be shared by 2 heads'),
        (dict(arch=dict(SMALL, depths=(1, 0, 1, 1))), 'must hold positive whole numbers'),
        (dict(settings=[dict(mlp_ratio=0.001)] * 8), 'makes 0 hidden channels out of 32'),
        (dict(out_indices=4), 'out of range. There are 4 stages: 0 to 3'),
        (dict(frozen_stages=5), 'frozen_stages=5 is out of range: .* up to 4 the stem and so many stages'),
        (dict(arch=dict(SMALL, linear='no')), "linear='no' must be True or False"),
        (dict(arch=dict(embed_dims=32, depths=2)), 'embed_dims=32 must be a list'),
        (dict(arch=dict(SMALL, mlp_ratios=('4',) * 4)), 'must hold positive numbers'),
        (dict(out_indices=None), 'out_indices=None must be a whole number or a list'),
    ],
)
def test_bad_arguments(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SSPVTv2(**arguments)
