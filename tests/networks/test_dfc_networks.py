"""Networks with DFC in their MLPs: what they cost, how they start, what is refused, and their weights."""

import pytest
import timm
import torch
from table import DFC
from torch import nn

from ss_backbones import BlockSetting, fold, load_weights
from ss_backbones.checkpoints.identification import identify
from ss_backbones.complexity import complexity
from ss_backbones.networks import PVTv2, ViT


@pytest.mark.parametrize('name', DFC)
def test_the_parameters_and_multiply_adds_of_dfc_deit(name: str) -> None:
    dim, depth, tokens = {'tiny': 192, 'small': 384, 'base': 768}[name.split('_')[2]], 12, 197
    hidden, half = 4 * dim, dim // 2
    attention = 4 * dim * dim + 4 * dim
    mlp = dim * hidden + hidden + hidden + half + half * hidden + hidden + hidden + dim
    outside = 16 * 16 * 3 * dim + dim + (tokens + 1) * dim + 2 * dim + dim * 1000 + 1000
    found = complexity(timm.create_model(name, device='meta'))
    assert found.params == outside + depth * (4 * dim + attention + mlp)
    products = 4 * dim * dim + dim * hidden + hidden + half * hidden + hidden + 2 * tokens * dim
    assert found.macs == depth * tokens * products + 196 * 16 * 16 * 3 * dim + dim * 1000


@pytest.mark.parametrize(('network', 'arch'), [(ViT, 'tiny'), (PVTv2, 'b0'), (PVTv2, 'b2_li')])
def test_only_what_follows_the_hidden_features_changes(network: type[nn.Module], arch: str) -> None:
    with torch.device('meta'):
        plain, probe = (network(arch, 'uniform', mlp=mlp).state_dict() for mlp in ('standard', 'dfc'))
    assert {key for key in plain if '.fc2.' not in key} == {key for key in probe if '.dfc.' not in key}
    assert all(plain[key].shape == probe[key].shape for key in plain.keys() & probe.keys())
    assert sum('.dfc.gl1.weight' in key for key in probe) == sum('.fc2.weight' in key for key in plain)


def test_the_initialisation_of_dfc_deit() -> None:
    torch.manual_seed(0)
    model = timm.create_model('dfc_deit_tiny_patch16_224')
    for name, parameter in model.named_parameters():
        if name.endswith('.bias'):
            assert not parameter.any() or name.startswith('patch_embed'), name
        elif parameter.ndim > 1 and not name.startswith(('patch_embed', 'head')):
            assert 0.0085 < parameter.std() < 0.0115, name
    plain = timm.create_model('ss_vit_tiny_patch16_224')
    assert 0.019 < plain.blocks[0].attn.qkv.weight.std() < 0.021


SPECIFIC = "mlp='dfc' does not go with settings='specific'.*Take settings='uniform'"


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(mlp='dfc'), SPECIFIC),
        (dict(mlp='dfc', settings=[dict(mlp_ratio=3.5)] * 12), 'does not go with mlp_ratio=3.5.*whole-numbered'),
        (dict(mlp='dfc', settings=[dict(act='ReLU')] * 12), "act='ReLU'.*settings='uniform'"),
        (dict(mlp='dfc', settings=[dict(pos_scale=1.0)] * 12), 'pos_scale=1.0'),
        (dict(mlp='dfc', settings=[dict(mlp_split=0.5)] * 12), 'mlp_split=0.5'),
        (dict(mlp='dfc', settings=[dict(mlp_ratio=0.25)] * 12), 'mlp_ratio=0.25'),
        (dict(mlp='gates'), "mlp='gates' is unknown. Known are standard, dfc"),
        (dict(mlp=None), 'mlp=None is unknown'),
        (dict(mlp='dfc', settings='uniform', arch=dict(embed_dim=9, depth=1, num_heads=3)), 'dim must be even'),
    ],
)
def test_what_is_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ViT(**{'arch': 'tiny', **arguments})


@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224'])
def test_every_timm_model_can_be_probed(name: str) -> None:
    with pytest.raises(ValueError, match=SPECIFIC):
        timm.create_model(name, mlp='dfc')
    model = timm.create_model(name, mlp='dfc', settings='uniform', num_classes=3).eval()
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 3)


def test_attention_keeps_its_settings() -> None:
    settings = [BlockSetting(mlp_ratio=2, attn_ratio=0.5)] * 11 + [BlockSetting(attn_split=0.25)]
    model = ViT('tiny', settings, mlp='dfc')
    assert model.blocks[0].attn.qkv.out_features == 3 * 96 and model.blocks[0].mlp.fc1.out_features == 384


def test_small_patches() -> None:
    model = timm.create_model('dfc_deit_tiny_patch16_224', img_size=32, patch_size=4, num_classes=10)
    assert model.pos_embed.shape == (1, 65, 192) and model.feature_info[0]['reduction'] == 4
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(ValueError, match='patch_size=0 must be a whole number'):
        timm.create_model('ss_vit_tiny_patch16_224', patch_size=0)
    with pytest.raises(ValueError, match='patches of 4 x 4 pixels'):
        model.set_input_size(patch_size=8)


@pytest.mark.parametrize('name', ['dfc_deit_tiny_patch16_224', 'ss_pvt_v2_b0'])
def test_a_folded_probe_gives_the_same(name: str) -> None:
    model = timm.create_model(name, mlp='dfc', settings='uniform', num_classes=5)
    model = randomised_a_little(model).eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    folded = fold(model)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-10, atol=1e-12)
    assert len(folded.state_dict()) < len(model.state_dict())


def randomised_a_little(model: nn.Module) -> nn.Module:
    """Norms and grouped linear layers as after a training."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(
    ('name', 'arguments', 'words'),
    [
        ('dfc_deit_small_patch16_224', {}, "dfc_deit_small_patch16_224 (settings='uniform', 7 classes)"),
        (
            'ss_pvt_v2_b1',
            dict(mlp='dfc', settings='uniform'),
            "ss_pvt_v2_b1 (settings='uniform', mlp='dfc', 7 classes)",
        ),
    ],
)
def test_its_weights_are_recognised_and_kept_apart(name: str, arguments: dict, words: str) -> None:
    model = timm.create_model(name, num_classes=7, **arguments)
    found = identify(model.state_dict(), 'x')
    assert found.fits and str(found) == words
    again = timm.create_model(name, num_classes=7, **arguments)
    assert load_weights(again, model.state_dict()).share == 1
    plain = timm.create_model(name, **{**arguments, 'mlp': 'standard', 'settings': 'uniform'})
    with pytest.raises(ValueError, match='Nothing was loaded'):
        load_weights(plain, model.state_dict())
