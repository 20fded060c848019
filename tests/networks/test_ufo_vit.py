"""What UFO-ViT has beside what test_backbones.py asks of every network."""

import pytest
import timm
import torch
from small_networks import noisy
from table import FIGURES
from timm.models.xcit import LPI
from torch import Tensor
from torch.nn import functional as F

from ss_backbones import UFOViT
from ss_backbones.layers import HiddenMlp, NormedLPI, UfoAttention, UfoClassAttention
from ss_backbones.timm_models import UFOViTClassifier

ARCH = dict(embed_dim=16, depth=6, num_heads=2)
PUBLISHED = {'tiny': 10.0, 'small': 20.7, 'medium': 37.3}  # millions of parameters


@pytest.mark.parametrize('arch', PUBLISHED)
def test_the_default_reading_has_the_papers_parameters(arch: str) -> None:
    assert FIGURES[f'ufo_vit_{arch}_patch16_224'][1] == pytest.approx(PUBLISHED[arch], rel=0.01)
    with torch.device('meta'):
        full = timm.create_model(f'ufo_vit_{arch}_patch16_224', full_projections=True)
    assert sum(p.numel() for p in full.parameters()) / 1e6 > 1.15 * PUBLISHED[arch]


@pytest.mark.parametrize('reading', [{}, dict(full_projections=True), dict(kv_axis='value'), dict(share_gamma=True)])
def test_class_attention_by_hand(reading: dict[str, object]) -> None:
    model = noisy(UFOViTClassifier(ARCH, **reading)).double().eval()
    block = model.cls_attn_blocks[0]
    assert isinstance(block.attn, UfoClassAttention)
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    attn = block.attn
    q, k, v = (part.unflatten(-1, (2, 8)) for part in attn._inputs(x))
    gammas = attn.q_norm.gamma, attn.q_norm.gamma if attn.kv_norm is None else attn.kv_norm.gamma
    images = []
    for image in range(2):
        heads = []
        for head in range(2):
            kv = sum(torch.outer(k[image, n, head], v[image, n, head]) for n in range(7))
            along = 1 if reading.get('kv_axis') == 'value' else 0
            kv = gammas[1][head] * kv / kv.square().sum(along, keepdim=True).sqrt()
            query = q[image, 0, head]
            heads.append(gammas[0][head] * query / query.norm() @ kv)
        images.append(torch.cat(heads))
    expected = F.linear(torch.stack(images)[:, None], attn.proj.weight, attn.proj.bias)
    torch.testing.assert_close(attn(x), expected, rtol=1e-11, atol=1e-11)


def test_the_other_reading_of_the_local_convolutions() -> None:
    assert {type(block.local_mp) for block in UFOViT(ARCH).blocks} == {LPI}
    model = noisy(UFOViT(dict(ARCH, depth=12), 'specific', local_end=True)).double().eval()
    local = model.blocks[-1].local_mp
    assert isinstance(local, NormedLPI)
    local.bn2.running_mean.normal_()
    x = torch.randn(2, 12, 16, dtype=torch.float64)
    plain = LPI.forward(local, x, 3, 4)
    scaled = (plain - local.bn2.running_mean) / (local.bn2.running_var + local.bn2.eps).sqrt()
    torch.testing.assert_close(local(x, 3, 4), F.gelu(scaled * local.bn2.weight + local.bn2.bias))
    assert isinstance(model.blocks[0].local_mp.act2, torch.nn.ReLU)  # the activation of the block's setting


def test_ss_on_it() -> None:
    plain, specific = UFOViT('tiny'), UFOViT('tiny', 'specific')
    assert {block.attn.head_dim for block in plain.blocks} == {48} and specific.blocks[0].attn.head_dim == 24
    assert specific.blocks[-1].attn.token_bypass == 0.25 and specific.blocks[-1].mlp.bypass == 96
    assert all(isinstance(block.attn, UfoAttention) and isinstance(block.mlp, HiddenMlp) for block in specific.blocks)


def test_all_tokens_of_a_map_see_one_another() -> None:
    model = noisy(UFOViT(ARCH, pyramid=False, out_indices=0)).double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)

    def changed(at: slice) -> Tensor:
        other = x.clone()
        other[..., at, at] += 1
        return (model(other)[0] - model(x)[0]).abs().amax(1)[0]

    assert changed(slice(0, 4)).min() > 0


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(kv_axis='both'), "kv_axis='both' is not known; take one of key, value"),
        (dict(local_end='yes'), "local_end='yes' must be True or False"),
        (dict(full_projections=1), 'full_projections=1 must be True or False'),
        (dict(linear_blocks=(0,)), r"settings\[0\]: mixer='ufo' is not possible in UFOViT; take one of attention"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        UFOViT(**{'arch': ARCH, **arguments})
