import pytest
import timm
import torch
from table import ARCHS

import ss_backbones
from ss_backbones import BlockSetting


def test_the_official_names_are_registered_once() -> None:
    assert sorted(timm.list_models('ss_pvt_v2_*')) == sorted(f'ss_pvt_v2_{arch}' for arch in ARCHS)
    assert [f'ss_pvt_v2_{arch}' for arch in ARCHS] == ss_backbones.timm_models.MODEL_NAMES


def test_classes_channels_and_settings() -> None:
    model = timm.create_model(
        'ss_pvt_v2_b0', num_classes=7, in_chans=4, settings=[BlockSetting(mlp_ratio=2)] * 8
    ).eval()
    x = torch.randn(2, 4, 64, 64)
    assert model(x).shape == (2, 7) and model.stages[0].blocks[0].mlp.fc1.out_features == 64
    features = model.forward_features(x)
    assert features.shape == (2, 256, 2, 2)
    torch.testing.assert_close(model.forward_head(features, pre_logits=True), features.flatten(2).mean(2))
    assert timm.create_model('ss_pvt_v2_b0', num_classes=0).eval()(torch.randn(1, 3, 32, 32)).shape == (1, 256)


def test_it_trains_on_one_batch() -> None:
    model = timm.create_model('ss_pvt_v2_b0', num_classes=4)
    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize('classes', [-1, 1.5])
def test_bad_num_classes(classes: object) -> None:
    with pytest.raises(ValueError, match='num_classes'):
        timm.create_model('ss_pvt_v2_b0', num_classes=classes)


def test_the_default_settings_follow_timm() -> None:
    cfg = timm.create_model('ss_pvt_v2_b0').default_cfg
    assert (
        cfg['input_size'] == (3, 224, 224) and cfg['classifier'] == 'head' and cfg['first_conv'] == 'patch_embed.proj'
    )
