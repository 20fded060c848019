"""What XCiT, and pyramids of blocks, have beside what test_backbones.py asks of every network."""

import pytest
import timm
import torch
from small_networks import noisy
from table import XCIT, Row
from timm.models.xcit import PositionalEncodingFourier
from torch.nn import functional as F

from ss_backbones import SSViT, SSXCiT
from ss_backbones.complexity import complexity
from ss_backbones.layers import FourierPositions

ARCH = dict(embed_dim=16, depth=6, num_heads=2)


@pytest.mark.parametrize('size', [(1, 1), (3, 5), (14, 14)], ids=str)
def test_positions_are_timms(size: tuple[int, int]) -> None:
    ours, theirs = FourierPositions(12).double(), PositionalEncodingFourier(dim=12).double()
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.empty(3, size[0] * size[1], 12, dtype=torch.float64)
    expected = theirs(1, *size).flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours(tokens, size), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('patch', [8, 16])
def test_a_pyramid_of_blocks_by_hand(patch: int) -> None:
    model = noisy(SSXCiT(ARCH, patch_size=patch)).double().eval()
    assert model.strides == [4, 8, 16, 32] and model.channels == [16] * 4
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        maps, grid, tokens = model(x), (64 // patch, 96 // patch), {}
        t = model.block_input(0, x)
        for i, block in enumerate(model.blocks):
            t = tokens[i] = block(t, grid)
        taken = [tokens[i].transpose(1, 2).unflatten(2, grid) for i in (1, 2, 3, 5)]  # 1/3, 1/2, 2/3 and the end
        first, levels = model.pyramid.levels['0'], model.pyramid.levels
        if patch == 16:
            up = F.gelu(F.batch_norm(first[0](taken[0]), *_statistics(first[1]), eps=first[1].eps))
            expected = [first[3](up), levels['1'][0](taken[1]), taken[2], F.max_pool2d(taken[3], 2)]
        else:
            expected = [first[0](taken[0]), taken[1], F.max_pool2d(taken[2], 2), F.max_pool2d(taken[3], 4)]
        for ours, plain in zip(maps, expected, strict=True):
            torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-11)


def _statistics(norm: torch.nn.BatchNorm2d) -> tuple[torch.Tensor, ...]:
    return norm.running_mean, norm.running_var, norm.weight, norm.bias


@pytest.mark.parametrize('row', XCIT, ids=lambda row: row.name)
def test_the_blocks_of_the_authors_detectors(row: Row) -> None:
    with torch.device('meta'):
        model = SSXCiT(row.arch)
    assert model._taken == ((3, 5, 7, 11) if row.depth == 12 else (7, 11, 15, 23))
    assert model.cls_token is None and model.cls_attn_blocks is None


def test_no_block_after_the_last_level_is_built() -> None:
    whole, part = noisy(SSXCiT(ARCH)).eval(), SSXCiT(ARCH, out_indices=(0, 2)).eval()
    assert len(whole.blocks) == 6 and len(part.blocks) == 4
    part.load_state_dict({key: whole.state_dict()[key] for key in part.state_dict()})
    x = torch.randn(1, 3, 70, 64)
    with torch.no_grad():
        assert all(torch.equal(a, whole(x)[i]) for a, i in zip(part(x), (0, 2), strict=True))
    assert SSViT(dict(ARCH), pyramid='blocks', pyramid_blocks=(0, 1, 2, 3)).built == 4
    assert SSXCiT(dict(ARCH, depth=2))._taken == (0, 0, 0, 1)


def test_multiply_adds_are_counted_by_layers_at_any_size() -> None:
    with torch.device('meta'):
        model = SSXCiT('tiny_12', 'uniform', pyramid=False)
    counts = [complexity(model, (1, 3, side, side)).macs for side in (224, 448)]
    assert counts[1] == 4 * counts[0]  # where many tokens are multiplied by other matrices than few


def test_local_convolutions_have_the_activation_of_their_block() -> None:
    model = SSXCiT('tiny_12')
    assert [type(block.local_mp.act).__name__ for block in model.blocks] == ['ReLU'] * 2 + ['GELU'] * 10
    assert {float(block.gamma1[0].double()) for block in SSXCiT('tiny_24').blocks} == {float(torch.tensor(1e-5))}


def test_class_attention_is_dropped_with_the_head_alone() -> None:
    for prune, left in ((True, 0), (False, 2)):
        model = timm.create_model('ss_xcit_tiny_12_p16_224', arch=ARCH, num_classes=3)
        model.prune_intermediate_layers([2], prune_head=prune)
        assert len(model.cls_attn_blocks or ()) == left and len(model.blocks) == 3
    features = timm.create_model('ss_xcit_tiny_12_p16_224', arch=ARCH, features_only=True, out_indices=(1, 3))
    assert not any(name.startswith('model.cls_') for name, _ in features.named_parameters())


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(patch_size=12), 'patch_size=12 is not possible; the stem makes 8 or 16'),
        (dict(arch=dict(ARCH, embed_dim=20)), 'embed_dim=20 must be a multiple of 8'),
        (dict(arch=dict(ARCH, layer_scale=0)), 'layer_scale=0 must be a number above 0'),
        (dict(pyramid='fpn'), "pyramid='fpn' must be 'simple', 'blocks', True or False"),
        (dict(pyramid_blocks=(0, 1, 2)), r'pyramid_blocks=\(0, 1, 2\) must name 4 blocks'),
        (dict(pyramid_blocks=(3, 2, 1, 0)), 'must rise without repeats'),
        (dict(pyramid='simple', pyramid_blocks=(0, 1, 2, 3)), "are for pyramid='blocks'"),
        (dict(settings=[dict(mixer='conv3x3')] * 6), "mixer='conv3x3' is not possible in SSXCiT"),
    ],
    ids=lambda value: '' if isinstance(value, dict) else value,
)
def test_bad_arguments(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SSXCiT(**{'arch': ARCH, **arguments})
