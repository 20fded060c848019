"""What users have written against earlier versions: names, config types, state-dict keys, timm names, tools."""

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

import ss_backbones

ROOT = Path(__file__).resolve().parents[1]
TOOLS = [
    'benchmark',
    'complexity',
    'convert',
    'derive_settings',
    'evaluate',
    'export',
    'growth',
    'make_shapes',
    'picture',
    'plot_benchmark',
    'predict',
    'pretrain',
    'probe',
    'show_settings',
    'test',
    'train',
]


def test_names_of_the_package() -> None:
    from ss_backbones import (
        BlockSetting,
        CheckpointError,
        LoadReport,
        SSPVTv2,
        SSViT,
        fold,
        load_weights,
        specific_setting,
        uniform_setting,
    )

    assert issubclass(CheckpointError, ValueError)
    settings = specific_setting(8, attn_split=0.0)
    settings[0] = BlockSetting(mlp_ratio=2.0, act='ReLU')
    model = SSPVTv2('b0', settings=settings).eval()
    assert (model.channels, model.strides) == ([32, 64, 160, 256], [4, 8, 16, 32])
    report = load_weights(model, SSPVTv2('b0', settings).state_dict(), prefix=None, use_ema=True, partial=False)
    assert isinstance(report, LoadReport) and report.share == 1.0
    assert (report.missing, report.unexpected, report.wrong_shape, report.adapted, report.fresh) == ((),) * 5
    with pytest.raises(CheckpointError, match='Nothing was loaded'):
        load_weights(model, SSViT('tiny').state_dict())
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for ours, theirs in zip(fold(model)(x), model(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert len(uniform_setting(3)) == 3


def test_names_in_configs() -> None:
    from mmengine.registry import HOOKS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS

    for name in ('SSPVTv2', 'ss_backbones.SSPVTv2', 'SSViT', 'ss_backbones.SSViT', 'ss_backbones.ImageClassifier'):
        assert MODELS.get(name) is not None, name
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get('ss_backbones.LayerDecayOptimizerConstructor')
    assert constructor is ss_backbones.LayerDecayOptimizerConstructor
    assert HOOKS.get('ss_backbones.CompileBackboneHook') is not None


def test_timm_names() -> None:
    pvt = {f'ss_pvt_v2_{arch}' for arch in ('b0', 'b1', 'b2', 'b2_li', 'b3', 'b4', 'b5')}
    vit = {f'ss_vit_{arch}_patch16_224' for arch in ('tiny', 'small', 'base')} | {'ss_vit_base_patch16_384'}
    dfc = {f'dfc_deit_{arch}_patch16_224' for arch in ('tiny', 'small', 'base')}
    assert pvt | vit | dfc <= {*timm.list_models('ss_*'), *timm.list_models('dfc_*')}


@pytest.mark.parametrize('tool', TOOLS)
def test_tools_are_scripts(tool: str) -> None:
    """That each says its options; nothing large is imported for that, so this costs a fraction of a second."""
    run = [sys.executable, str(ROOT / f'tools/{tool}.py'), '--help']
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f'usage: tools/{tool}.py')
