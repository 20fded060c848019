"""The configs of UFO-ViT, which have XCiT's recipes and no plain twins."""

import pytest
from config_files import UFO, load

from ss_backbones.networks import UFOViT

ARCHS = list(UFOViT.archs)


def test_there_is_one_of_each_arch_for_detectors_and_segmenters() -> None:
    assert sorted(UFO) == sorted(
        [f'mask_rcnn/mask-rcnn_ufo-vit-{arch}_fpn_ms-3x_coco.py' for arch in ARCHS]
        + [f'upernet/upernet_ufo-vit-{arch}_8xb2-160k_ade20k-512x512.py' for arch in ARCHS]
    )


@pytest.mark.parametrize('name', UFO)
def test_the_model_and_the_recipe(name: str) -> None:
    pytest.importorskip('mmdet' if name.startswith('mask_rcnn/') else 'mmseg')
    config = load(name)
    backbone = config.model.backbone.to_dict()
    arch = name.split('ufo-vit-')[1].split('_')[0]
    pretrained = {'type': 'Pretrained', 'checkpoint': ''}
    options = {'settings': 'uniform', 'drop_path_rate': 0.05, 'init_cfg': pretrained}
    assert backbone == {'type': 'UFOViT', 'arch': arch, **options}
    dim = UFOViT.archs[arch].embed_dim
    wrapper = config.optim_wrapper
    assert (wrapper.constructor, wrapper.paramwise_cfg.to_dict()) == (
        'ss_backbones.LayerDecayOptimizerConstructor',
        {'layer_decay_rate': 1.0},
    )
    assert config.runner_type == 'ss_backbones.Runner'
    if name.startswith('upernet'):
        assert config.model.decode_head.in_channels == [dim] * 4 and config.model.auxiliary_head.in_channels == dim
        assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay, config.train_cfg.max_iters) == (
            6e-5,
            0.01,
            160_000,
        )
        return
    assert config.model.neck.in_channels == [dim] * 4
    assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay, config.train_cfg.max_epochs) == (1e-4, 0.05, 36)
    *_, schedule = config.param_scheduler
    assert schedule.milestones == [27, 33]
