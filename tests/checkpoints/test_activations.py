"""Weights know which activations they were trained with, through every file and wrapper, and go into no others."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import get_state_dict, load_checkpoint, save_checkpoint
from table import SMALL
from torch import nn
from torch.nn.parallel import DataParallel

from ss_backbones import SSPVTv2, SSViT, fold, load_weights
from ss_backbones.checkpoints.conversion import LAYOUTS, convert
from ss_backbones.errors import CheckpointError, MismatchError
from ss_backbones.networks import PVTv2, ViT
from ss_backbones.training.hooks import CheckpointCheckHook

PVT, VIT = (next(iter(SMALL[family].values()))['arch'] for family in (PVTv2, ViT))
TIMM = dict(model_name='ss_vit_tiny_patch16_224', arch=VIT)


def pvt(*acts: str) -> SSPVTv2:
    """A backbone whose blocks have these activations, and the last one's from there on."""
    acts = (*acts, *[acts[-1]] * (sum(PVT['depths']) - len(acts)))
    return SSPVTv2(arch=PVT, settings=[dict(act=act, mlp_ratio=2) for act in acts])


class Detector(nn.Module):
    """Whatever holds a backbone."""

    def __init__(self, *acts: str) -> None:
        super().__init__()
        self.backbone, self.neck = pvt(*acts), nn.Linear(2, 2)


def as_saved(state: object, file: Path) -> object:
    torch.save(state, file)
    return torch.load(file, weights_only=True)


def mmengine_file(model: nn.Module, file: Path) -> Path:
    save_checkpoint({'meta': {}, 'state_dict': get_state_dict(model)}, str(file))
    return file


WRAPPED: dict[str, Callable[[Detector, Path], object]] = {
    'bare': lambda model, path: model.backbone.state_dict(),
    'saved': lambda model, path: as_saved(model.backbone.state_dict(), path / 'a.pth'),
    'in a detector': lambda model, path: as_saved({'state_dict': model.state_dict()}, path / 'a.pth'),
    'by mmengine': lambda model, path: mmengine_file(model, path / 'a.pth'),
    'DataParallel': lambda model, path: as_saved({'model': DataParallel(model).state_dict()}, path / 'a.pth'),
    'compiled': lambda model, path: torch.compile(model.backbone).state_dict(),
    'EMA': lambda model, path: as_saved({'state_dict': ExponentialMovingAverage(model).state_dict()}, path / 'a.pth'),
    'a copy': lambda model, path: copy.deepcopy(copy.deepcopy(model).backbone.state_dict()),
}


@pytest.mark.parametrize('kind', WRAPPED)
def test_weights_go_into_no_other_activation(kind: str, tmp_path: Path) -> None:
    for acts, others in (('GELU',), ('ReLU',)), (('ReLU', 'GELU'), ('ReLU', 'ReLU')):
        weights, target = WRAPPED[kind](Detector(*acts), tmp_path), pvt(*others)
        before = copy.deepcopy(target.state_dict())
        with pytest.raises(MismatchError, match='Nothing was loaded: the activation differs in stages') as error:
            load_weights(target, weights)
        first = 'stages.0.blocks.0' if acts == ('GELU',) else 'stages.0.blocks.1'
        assert f'{first}.mlp ({acts[-1]} in the checkpoint, {others[-1]} in the model)' in error.value.problem
        assert 'pass partial=True' in str(error.value)
        assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())
        report = load_weights(target, weights, partial=True)
        assert report.share == 1 and f'other activations: {first}.mlp' in str(report)
        same = pvt(*acts)
        assert load_weights(same, weights).share == 1 and not load_weights(same, weights).other_activations


def test_what_is_compared() -> None:
    source = pvt('ReLU', 'GELU')
    metadata = source.state_dict()._metadata
    assert metadata['stages.0.blocks.0.mlp']['activation'] == 'ReLU'
    assert metadata['stages.0.blocks.1.mlp']['activation'] == 'GELU'
    block = source.stages[0].blocks[0]
    with pytest.raises(MismatchError, match='the activation differs in mlp '):
        load_weights(pvt('GELU').stages[0].blocks[0], block.state_dict())
    with pytest.raises(MismatchError, match='the activation differs in the MLP '):
        load_weights(pvt('GELU').stages[0].blocks[0].mlp, block.mlp.state_dict())


def test_weights_that_do_not_say_it_load_as_ever() -> None:
    plain = dict(pvt('GELU').state_dict())
    assert load_weights(pvt('ReLU'), plain).share == 1
    pvt('ReLU').load_state_dict(plain)
    bare = timm.create_model('pvt_v2_b0').state_dict()
    assert load_weights(timm.create_model('ss_pvt_v2_b0', settings='uniform'), bare).share == 1


def check(model: nn.Module, file: Path) -> None:
    """What a run that begins with the weights of a file looks at."""
    runner = SimpleNamespace(cfg={}, model=model, _load_from=str(file), _resume=False, optim_wrapper=object())
    CheckpointCheckHook().after_load_checkpoint(runner, torch.load(file, weights_only=True))


@pytest.mark.parametrize('strict', [True, False])
def test_other_loaders(strict: bool, tmp_path: Path) -> None:
    detector = Detector('GELU')
    before = copy.deepcopy(detector.state_dict())
    file = mmengine_file(Detector('ReLU'), tmp_path / 'a.pth')
    state = torch.load(file, weights_only=True)['state_dict']
    with pytest.raises(MismatchError, match='the activation differs'):
        detector.backbone.load_state_dict(pvt('ReLU').state_dict(), strict=strict)
    # what stands before the backbone in a detector would be loaded by then; here nothing does
    with pytest.raises(MismatchError, match=r'the activation differs in stages.0.blocks.0.mlp .* and \d+ more'):
        detector.load_state_dict(state, strict=strict)
    with pytest.raises(MismatchError, match='the activation differs'):
        load_checkpoint(detector, str(file), strict=strict)
    with pytest.raises(CheckpointError, match='a.pth was trained with other activations than the config has'):
        check(detector, file)
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())
    load_checkpoint(Detector('ReLU'), str(file), strict=True)
    check(Detector('ReLU'), file)


def test_timm_models() -> None:
    source = timm.create_model(**TIMM, settings=[dict(act='ReLU')] * VIT['depth']).state_dict()
    words = 'the activation differs in blocks.0.mlp .ReLU in the checkpoint, GELU in the model'
    for options in {}, dict(features_only=True):
        with pytest.raises(MismatchError, match=words):
            timm.create_model(**TIMM, settings='uniform', **options).load_state_dict(source)
    with pytest.raises(MismatchError, match=words):
        load_weights(SSViT(arch=VIT, settings='uniform'), source)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('safetensors', [False, True])
def test_converted_files_keep_it(layout: str, safetensors: bool, tmp_path: Path) -> None:
    torch.save({'state_dict': Detector('ReLU', 'GELU').state_dict()}, tmp_path / 'a.pth')
    convert(tmp_path / 'a.pth', tmp_path / 'b', layout, safetensors=safetensors)
    convert(tmp_path / 'b', tmp_path / 'c', 'openmmlab')
    for name in 'bc':
        assert load_weights(pvt('ReLU', 'GELU'), tmp_path / name).share == 1
        with pytest.raises(MismatchError, match=r'differs in stages.0.blocks.0.mlp \(.* in the model\)\. Is'):
            load_weights(pvt('GELU'), tmp_path / name)
    detector = Detector('GELU')
    with pytest.raises(MismatchError, match='the activation differs'):
        load_checkpoint(detector, str(tmp_path / 'c'))


def test_what_is_made_of_a_network_says_it_too() -> None:
    source = pvt('ReLU', 'GELU').eval()
    folded = fold(source)
    assert load_weights(folded, fold(source).state_dict()).share == 1
    with pytest.raises(MismatchError, match='the activation differs'):
        load_weights(fold(pvt('GELU').eval()), folded.state_dict())
    changed = pvt('GELU')
    changed.stages[0].blocks[0].mlp.act = nn.SiLU()  # nothing is known of it, so nothing is compared
    assert load_weights(changed, pvt('ReLU', 'GELU').state_dict()).share == 1
