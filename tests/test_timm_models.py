import pytest
import timm
import torch

from ss_backbones import BlockSetting


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


@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224', 'dfc_deit_tiny_patch16_224'])
def test_it_trains_on_one_batch(name: str) -> None:
    model = timm.create_model(name, num_classes=4)
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


@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224'])
@pytest.mark.parametrize('classes', [-1, 1.5])
def test_bad_num_classes(name: str, classes: object) -> None:
    with pytest.raises(ValueError, match='num_classes'):
        timm.create_model(name, num_classes=classes)


def test_the_head_of_vit_reads_the_class_token() -> None:
    model = timm.create_model('ss_vit_tiny_patch16_224', num_classes=7, in_chans=4).eval()
    x = torch.randn(2, 4, 224, 224)
    tokens = model.forward_features(x)
    assert tokens.shape == (2, 197, 192) and model(x).shape == (2, 7)
    torch.testing.assert_close(model(x), tokens[:, 0] @ model.head.weight.T + model.head.bias)
    torch.testing.assert_close(model.forward_head(tokens, pre_logits=True), tokens[:, 0])
    assert timm.create_model('ss_vit_tiny_patch16_224', num_classes=0).eval()(x[:, :3]).shape == (2, 192)


@pytest.mark.parametrize(
    ('name', 'size', 'crop'), [('ss_vit_base_patch16_224', 224, 0.9), ('ss_vit_base_patch16_384', 384, 1.0)]
)
def test_sizes_of_vit(name: str, size: int, crop: float) -> None:
    with torch.device('meta'):
        model = timm.create_model(name)
    assert model.pos_embed.shape == (1, 1 + (size // 16) ** 2, 768)
    assert model.default_cfg['input_size'] == (3, size, size) and model.default_cfg['crop_pct'] == crop


def test_the_default_settings_follow_timm() -> None:
    cfg = timm.create_model('ss_pvt_v2_b0').default_cfg
    assert (
        cfg['input_size'] == (3, 224, 224) and cfg['classifier'] == 'head' and cfg['first_conv'] == 'patch_embed.proj'
    )
