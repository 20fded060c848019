"""ss-backbones train and test: plain errors, and a tiny run from training over testing to resuming."""

import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('mmdet')

import torch  # noqa: E402
from config_files import load as load_config  # noqa: E402
from mmdet.datasets import CocoDataset  # noqa: E402
from new_process import run_script  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tiny_data import write_coco, write_segmentation  # noqa: E402

from ss_backbones import CheckpointError, commands  # noqa: E402
from ss_backbones.commands import library_script  # noqa: E402
from ss_backbones.commands.parsing import config_options  # noqa: E402
from ss_backbones.doctor.troubles import installed  # noqa: E402
from ss_backbones.openmmlab import launch  # noqa: E402
from ss_backbones.openmmlab.configs import read_config  # noqa: E402
from ss_backbones.openmmlab.swapping.verifying import check_fit  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs/mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py')
MMDET_TRAIN = Path(find_spec('mmdet').origin).parent / '.mim/tools/train.py'


def refuse(capsys: pytest.CaptureFixture, tool: str, *argv: str) -> str:
    """Calls a command that must refuse, and returns what it says."""
    assert commands.run(tool, argv) == 2
    said = capsys.readouterr().err
    assert said.startswith(f'ss-backbones {tool}: ')
    assert 'Traceback' not in said
    return said


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


# ---- what is refused


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_no_config(capsys: pytest.CaptureFixture, tool: str):
    assert f'Expected: ss-backbones {tool} CONFIG' in refuse(capsys, tool)
    assert 'CONFIG' in refuse(capsys, tool, '--work-dir', 'here')


def test_missing_config(capsys: pytest.CaptureFixture):
    assert 'no config file configs/nope.py' in refuse(capsys, 'train', 'configs/nope.py')


def test_no_config_file(capsys: pytest.CaptureFixture, tmp_path: Path):
    for path in (str(tmp_path), write(tmp_path / 'epoch_1.pth', '')):
        assert f'{path} is not a config, expected a Python file' in refuse(capsys, 'train', path)


@pytest.mark.parametrize('text', ['default_scope = (', "_base_ = './nope.py'", "_base_ = 'mmdet::nope/nope.py'"])
def test_unreadable_config(capsys: pytest.CaptureFixture, tmp_path: Path, text: str):
    assert 'cannot be read as a config' in refuse(capsys, 'train', write(tmp_path / 'a.py', text))


def test_a_classifiers_config_is_for_other_tools(capsys: pytest.CaptureFixture):
    config = str(ROOT / 'configs/imagenet/ss-pvtv2-b0_8xb128_in1k.py')
    for tool, argv in (('train', [config]), ('test', [config, 'epoch_1.pth'])):
        assert 'take ss-backbones pretrain to train it, and ss-backbones evaluate to test it' in refuse(
            capsys, tool, *argv
        )


@pytest.mark.parametrize('text', ['', "default_scope = 'mmpose'"])
def test_no_known_library(capsys: pytest.CaptureFixture, tmp_path: Path, text: str):
    said = refuse(capsys, 'train', write(tmp_path / 'a.py', text))
    assert "expected 'mmdet' or 'mmseg'" in said
    assert ("'mmpose'" in said) == bool(text)


@pytest.mark.parametrize(('scope', 'package'), [('mmdet', 'mmdet'), ('mmseg', 'mmsegmentation')])
def test_missing_library(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scope: str, package: str
):
    config = write(tmp_path / 'a.py', f'default_scope = {scope!r}')
    monkeypatch.setattr(library_script, 'find_spec', lambda name: None)
    said = refuse(capsys, 'train', config)
    assert f'{scope}, which is not installed' in said
    assert f'Install {package}==' in said
    assert commands.run('train', ['-h']) == 0
    assert 'not installed' in capsys.readouterr().out


def test_missing_library_of_a_base(capsys: pytest.CaptureFixture, tmp_path: Path):
    config = write(tmp_path / 'a.py', "_base_ = 'mmpose::a/b.py'\ndefault_scope = 'mmdet'")
    assert 'mmpose is not installed' in refuse(capsys, 'train', config)


def test_library_without_its_tools(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(
        library_script, 'find_spec', lambda name: SimpleNamespace(origin=str(tmp_path / name / '__init__.py'))
    )
    said = refuse(capsys, 'train', write(tmp_path / 'a.py', "default_scope = 'mmdet'"))
    assert str(tmp_path / 'mmdet/.mim/tools/train.py') in said
    assert 'Install mmdet==' in said


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_missing_mmengine(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tool: str):
    monkeypatch.setitem(sys.modules, 'mmengine', None)
    for name in [name for name in sys.modules if name.startswith(('ss_backbones.openmmlab', 'mmengine.'))]:
        monkeypatch.delitem(sys.modules, name)
    assert 'Install it as the documentation says, most simply with: make setup' in refuse(capsys, tool, CONFIG, 'a.pth')


def test_options_that_do_not_fit(capsys: pytest.CaptureFixture):
    assert 'takes KEY=VALUE' in refuse(capsys, 'train', CONFIG, '--cfg-options', 'model.backbone')
    said = refuse(capsys, 'train', CONFIG, '--cfg-options', 'model.backbone.arch.x=1')
    assert '--cfg-options does not fit' in said


def test_checkpoints(capsys: pytest.CaptureFixture, tmp_path: Path):
    assert 'CHECKPOINT' in refuse(capsys, 'test', CONFIG)
    assert 'no checkpoint nope.pth' in refuse(capsys, 'test', CONFIG, 'nope.pth')
    assert f'{tmp_path} is a folder' in refuse(capsys, 'test', CONFIG, str(tmp_path))
    assert 'no checkpoint nope.pth' in refuse(capsys, 'train', CONFIG, '--resume', 'nope.pth')
    (tmp_path / 'cut.pth').write_bytes(b'PK\x03\x04 the beginning of a zip file')
    assert 'cut.pth cannot be read as a checkpoint' in refuse(capsys, 'test', CONFIG, str(tmp_path / 'cut.pth'))
    (tmp_path / 'none.pth').touch()
    assert 'none.pth is empty' in refuse(capsys, 'train', CONFIG, '--resume', str(tmp_path / 'none.pth'))
    assert 'is empty' in refuse(capsys, 'test', CONFIG, str(tmp_path / 'none.pth'), '--show')  # not a short --show-dir
    save_file({'a': torch.ones(1)}, tmp_path / 'named.pth')
    said = refuse(capsys, 'test', CONFIG, str(tmp_path / 'named.pth'))
    assert 'named.pth is in the format safetensors, which mmengine does not read. Give what' in said
    # an address is the library's business, so that the next thing to complain about is the data
    assert 'the data is not where' in refuse(capsys, 'test', CONFIG, 'https://host/epoch_12.pth')


def test_weights_that_do_not_load(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def run_path(script: str, run_name: str) -> None:
        raise CheckpointError('its checkpoint is empty')

    monkeypatch.setattr(sys, 'argv', list(sys.argv))
    monkeypatch.setattr(library_script.runpy, 'run_path', run_path)
    config = write(tmp_path / 'a.py', "default_scope = 'mmdet'")
    assert 'its checkpoint is empty' in refuse(capsys, 'train', config)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
@pytest.mark.parametrize(
    'argv',
    [
        ['CONFIG', '--resume'],
        ['--resume', 'CONFIG'],
        ['--work-dir', 'w', '--resume', 'CONFIG', '--amp'],
        ['--cfg-options', 'a=1', 'b=2', '--resume', 'CONFIG'],
    ],
)
def test_resume_beside_the_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scope: str, argv: list[str]):
    """mmseg's --resume takes no value: whatever the order, both libraries see the config and resume on their own."""
    config = write(tmp_path / 'a.py', f'default_scope = {scope!r}')
    run_path, seen = runpy.run_path, []

    def parse(script: str, run_name: str) -> None:
        seen.append(run_path(script)['parse_args']())

    monkeypatch.setattr(library_script.runpy, 'run_path', parse)
    monkeypatch.setattr(sys, 'argv', list(sys.argv))
    monkeypatch.setenv('LOCAL_RANK', '0')  # which the libraries set
    assert commands.run('train', [config if word == 'CONFIG' else word for word in argv]) == 0
    [arguments] = seen
    assert arguments.config == config
    assert arguments.resume in ('auto', True)
    assert arguments.cfg_options.pop('runner_type') == 'ss_backbones.Runner'
    assert bool(arguments.cfg_options) == ('--cfg-options' in argv)
    assert arguments.amp == ('--amp' in argv)


def test_bad_data_are_left_out_by_choice(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    seen: list[str] = []
    monkeypatch.setattr(library_script.runpy, 'run_path', lambda script, run_name: seen.extend(sys.argv))
    monkeypatch.setattr(sys, 'argv', list(sys.argv))
    config = write(tmp_path / 'a.py', "default_scope = 'mmdet'")
    assert commands.run('train', [config, '--on-bad-data', 'skip']) == 0
    assert 'on_bad_data=skip' in seen[seen.index('--cfg-options') :] and '--on-bad-data' not in seen
    assert '--on-bad-data: invalid choice' in refuse(capsys, 'train', config, '--on-bad-data', 'ignore')


VIT_CONFIG = str(ROOT / 'configs/upernet/upernet_ss-vit-tiny_8xb2-160k_ade20k-512x512.py')


@pytest.mark.parametrize(
    ('config', 'option', 'said'),
    [
        (CONFIG, 'model.backbone.arch=b9', "SSPVTv2: arch='b9' is unknown"),
        (CONFIG, 'model.backbone.zzz=3', r'SSPVTv2 has no argument zzz\. There are .*bf16.*mlp.*_delete_=True'),
        (CONFIG, 'model.backbone.depth=50', r'SSPVTv2 has no argument depth\..*_delete_=True'),
        (CONFIG, 'model.backbone.out_indexes=(0,)', r'has no argument out_indexes \(perhaps out_indices\)'),
        (VIT_CONFIG, 'model.backbone.window_size=0', 'SSViT: window_size=0 must be a whole number, 1 or more'),
        (VIT_CONFIG, 'model.backbone.type=ss_backbones.SSViT model.backbone.img_size=0', 'SSViT: img_size=0 must be'),
        (VIT_CONFIG, 'model.pretrained=a.pth', "model.pretrained='a.pth' would be handed to SSViT.*init_cfg"),
        (VIT_CONFIG, 'optim_wrapper.paramwise_cfg.num_layers=12', r"LayerDecay.*: .* unknown keys \['num_layers'\]"),
        (VIT_CONFIG, 'optim_wrapper.paramwise_cfg.layer_decay_rate=2', 'LayerDecay.*layer_decay_rate=2 must be'),
    ],
)
def test_bad_arguments_of_the_backbone_and_the_optimiser(
    capsys: pytest.CaptureFixture, config: str, option: str, said: str
):
    text = refuse(capsys, 'train', config, '--cfg-options', *option.split())
    assert re.search(said, text), text


def test_a_backbone_that_no_other_program_would_find(capsys: pytest.CaptureFixture, tmp_path: Path):
    text = "_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\nmodel = dict(backbone=dict(_delete_=True, {}))"
    said = refuse(capsys, 'train', write(tmp_path / 'a.py', text.format("type='SSPVTv2', arch='b0'")))
    assert "no custom_imports = dict(imports=['ss_backbones'])" in said and "type='ss_backbones.SSPVTv2'" in said
    named = write(tmp_path / 'b.py', text.format("type='ss_backbones.SSPVTv2', arch='b0'"))
    assert 'the data is not where' in refuse(capsys, 'train', named)


@pytest.mark.parametrize(
    ('config', 'option', 'said'),
    [
        (CONFIG, 'model.neck.in_channels=[64,128,320,512]', '32 at stride 4, 64 at stride 8, 160 at stride 16, 256'),
        (VIT_CONFIG, 'model.auxiliary_head.in_channels=7', '48 at stride 4, 96 at stride 8'),
    ],
)
def test_parts_that_do_not_fit_the_backbone(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, config: str, option: str, said: str
):
    monkeypatch.setattr(launch, 'find_missing', lambda config, tool: [])
    text = refuse(capsys, 'train', config, '--cfg-options', option, 'model.backbone.init_cfg=None')
    assert 'the parts of the model do not fit' in text
    assert f'The backbone gives maps with {said}' in text


UNUSED = """
_base_ = 'mmdet::{}_1x_coco.py'
model = dict(backbone=dict(_delete_=True, type='ss_backbones.{}', arch='{}'), neck=dict(in_channels={}))
"""
TAKE = re.compile(r'Take only what is used: (.*) \(with --cfg-options\)')


_LEVELS = '6 of its parameters, such as pyramid.levels.0'


@pytest.mark.parametrize(
    ('base', 'cls', 'arch', 'channels', 'parameters'),
    [
        ('retinanet/retinanet_r50_fpn', 'SSXCiT', 'tiny_12', [192, 192, 192, 192], _LEVELS),
        ('fcos/fcos_r50-caffe_fpn_gn-head', 'SSXCiT', 'tiny_12', [192, 192, 192, 192], _LEVELS),
        ('atss/atss_r50_fpn', 'SSViT', 'tiny', [48, 96, 192, 192], 'such as pyramid.levels.0'),
        ('retinanet/retinanet_r50_fpn', 'SSSwin', 'tiny', [96, 192, 384, 768], '2 of its parameters, such as norm0.'),
        ('retinanet/retinanet_r50_fpn', 'SSPVTv2', 'b0', [32, 64, 160, 256], ''),  # all stages are made of the first
    ],
)
def test_a_level_that_the_neck_leaves_out(
    tmp_path: Path, base: str, cls: str, arch: str, channels: list[int], parameters: str
):
    config = write(tmp_path / 'a.py', UNUSED.format(base, cls, arch, channels))
    said = check_fit(read_config(config, {}), 'a.py', 'mmdet')
    assert parameters in said and bool(parameters) == ('nothing uses map 0 of the 4' in said)
    if parameters:
        options = config_options(TAKE.search(said)[1].split())
        assert check_fit(read_config(config, options), 'a.py', 'mmdet') == ''


def test_a_head_that_leaves_maps_out(tmp_path: Path):
    """Which heads read is said by their in_index, and several heads that follow each other are not looked at."""
    config = load_config('upernet/upernet_ss-vit-tiny_8xb2-160k_ade20k-512x512.py')
    assert check_fit(config, 'a.py', 'mmseg') == ''
    config.model.decode_head.update(in_index=[1, 2, 3], in_channels=config.model.decode_head.in_channels[1:])
    config.model.auxiliary_head.update(in_index=2)
    said = check_fit(config, 'a.py', 'mmseg')
    assert 'map 0 of the 4' in said and 'out_indices=[1,2,3], with in_channels (and in_index) of' in said
    config.model.update(decode_head=[config.model.decode_head] * 2, type='CascadeEncoderDecoder', num_stages=2)
    assert check_fit(config, 'a.py', 'mmseg') == ''


def test_several_processes_stop_before_a_level_that_is_left_out(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """And one process is warned, and goes on."""
    monkeypatch.setattr(launch, 'find_missing', lambda config, tool: [])
    monkeypatch.setattr(library_script.runpy, 'run_path', lambda script, run_name: None)
    monkeypatch.setattr(sys, 'argv', list(sys.argv))
    text = UNUSED.format('retinanet/retinanet_r50_fpn', 'SSXCiT', 'tiny_12', [192] * 4)
    argv = [write(tmp_path / 'a.py', text), '--work-dir', str(tmp_path / 'work')]
    several = ['--launcher', 'pytorch', '--cfg-options', 'default_scope=mmdet']
    assert 'Without either, DDP stops in its second step' in refuse(capsys, 'train', *argv, *several)
    for other in ('find_unused_parameters=True', 'model_wrapper_cfg.find_unused_parameters=True'):
        assert commands.run('train', [*argv, *several, other]) == 0
    capsys.readouterr()
    assert commands.run('train', argv) == 0
    assert 'ss-backbones train: warning: ' in capsys.readouterr().err


@pytest.mark.parametrize('where', ['--work-dir', 'work_dir', ''])
def test_a_work_dir_of_another_run(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, 'find_missing', lambda config, tool: [])
    monkeypatch.setattr(launch, 'check_fit', lambda config, name, library: '')
    folder = tmp_path / ('mine' if where else 'work_dirs/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco')
    folder.mkdir(parents=True)
    (folder / 'epoch_3.pth').touch()
    arguments = {'--work-dir': [where, 'mine'], 'work_dir': ['--cfg-options', 'work_dir=mine'], '': []}[where]
    said = refuse(capsys, 'train', CONFIG, *arguments)
    assert 'has checkpoints of an earlier run (epoch_3.pth). Go on from there with --resume' in said


@pytest.mark.parametrize('order', ['first', 'last'])
def test_missing_data(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, order: str):
    """The options are seen wherever the config stands between the arguments."""
    monkeypatch.chdir(tmp_path)
    options = ['--cfg-options', 'train_dataloader.dataset.data_root=a/b/', '--work-dir', 'w', '--auto-scale-lr']
    said = refuse(capsys, 'train', *([CONFIG, *options] if order == 'first' else [*options, CONFIG]))
    assert 'a/b/annotations/instances_train2017.json' in said
    assert 'data/coco/annotations/instances_val2017.json' in said
    assert 'data/coco/annotations/instances_train2017.json' not in said


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_help_lists_the_options_of_both_libraries(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tool: str
):
    """The libraries' own parsers are asked for comparison."""
    assert commands.run(tool, ['--help']) == 0
    said = capsys.readouterr().out
    assert f'usage: ss-backbones {tool} CONFIG' in said
    for library, section in zip(('mmdet', 'mmseg'), said.split('options with a config of ')[1:], strict=True):
        assert section.startswith(f'{library}:')
        script = Path(find_spec(library).origin).parent / f'.mim/tools/{tool}.py'
        monkeypatch.setattr(sys, 'argv', [str(script), '--help'])
        with pytest.raises(SystemExit):
            runpy.run_path(str(script))['parse_args']()
        options = set(re.findall(r'--[a-z][a-z_-]+', capsys.readouterr().out)) - {'--help'}
        assert len(options) > 5
        assert set(re.findall(r'--[a-z][a-z_-]+', section)) == options


# ---- what works: four images, two iterations an epoch


def make_options(folder: Path) -> list[str]:
    """The real config at a size that takes seconds; everything is set from the command line."""
    options = [
        'randomness.seed=0',
        'train_cfg.max_epochs=1',
        'default_hooks.logger.interval=1',
        'model.backbone.init_cfg=None',
        'model.train_cfg.rpn_proposal.max_per_img=8',
        'model.train_cfg.rcnn.sampler.num=8',
        'model.test_cfg.rpn.max_per_img=4',
        'model.test_cfg.rcnn.max_per_img=4',
        'model.test_cfg.rcnn.score_thr=0',  # an untrained detector is sure of nothing
        'train_dataloader.dataset.pipeline.2.scale=(64,64)',
        'val_dataloader.dataset.pipeline.1.scale=(64,64)',
        'test_dataloader.dataset.pipeline.1.scale=(64,64)',
    ]
    for part in ('train', 'val', 'test'):
        options += [
            f'{part}_dataloader.num_workers=0',
            f'{part}_dataloader.persistent_workers=False',
            f'{part}_dataloader.dataset.data_root={folder}',
            f'{part}_dataloader.dataset.ann_file=annotations.json',
            f'{part}_dataloader.dataset.data_prefix.img=images',
        ]
        if part != 'train':
            options.append(f'{part}_evaluator.ann_file={folder}/annotations.json')
    return options


def call(script: Path, work_dir: Path, *argv: str, installed: bool = True) -> str:
    """Runs a script in a folder of its own, from elsewhere than the repository, and returns what it printed."""
    if installed:
        result = run_script(script, argv, cwd=work_dir.parent)
    else:  # without the editable install's .pth file
        result = subprocess.run(
            [sys.executable, '-S', '-W', 'ignore', str(script), *argv],
            cwd=work_dir.parent,
            env=os.environ | {'PYTHONPATH': str(Path(torch.__file__).parents[1]), 'OMP_NUM_THREADS': '1'},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def logged(work_dir: Path) -> list[dict]:
    """The numbers that the latest run in a folder logged."""
    latest = max(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in latest.read_text().splitlines()]


@dataclass(frozen=True)
class Run:
    work_dir: Path
    options: list[str]
    rows: list[dict]  # what it logged

    @property
    def losses(self) -> list[float]:
        return [row['loss'] for row in self.rows if 'loss' in row]


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training run of one epoch, with the package found through tools/train.py alone."""
    folder = tmp_path_factory.mktemp('run')
    write_coco(folder / 'set', CocoDataset.METAINFO['classes'], images=4)
    options = make_options(folder / 'set')
    work_dir = folder / 'work'
    call(ROOT / 'tools/train.py', work_dir, CONFIG, '--work-dir', 'work', '--cfg-options', *options, installed=False)
    return Run(work_dir, options, logged(work_dir))


def test_train(trained: Run):
    assert (trained.work_dir / 'epoch_1.pth').is_file()
    assert len(trained.losses) == 2
    assert all(0 < loss < 100 for loss in trained.losses)
    assert 'coco/segm_mAP' in trained.rows[-1]


def test_test(trained: Run, tmp_path: Path):
    checkpoint = str(trained.work_dir / 'epoch_1.pth')
    name = 'ss_backbones::' + str(Path(CONFIG).relative_to(ROOT / 'configs'))
    arguments = [name, checkpoint, '--work-dir', 'w', '--cfg-options', *trained.options]
    call(ROOT / 'tools/test.py', tmp_path / 'w', *arguments)
    figures = json.loads(max((tmp_path / 'w').glob('*/*.json')).read_text())
    for key in ('coco/bbox_mAP', 'coco/segm_mAP'):
        assert figures[key] == trained.rows[-1][key]


def test_resume(trained: Run):
    options = [*trained.options, 'train_cfg.max_epochs=2']
    arguments = [CONFIG, '--resume', '--work-dir', 'work', '--cfg-options', *options]
    assert 'resumed epoch: 1, iter: 2' in call(ROOT / 'tools/train.py', trained.work_dir, *arguments)
    steps = [(row['epoch'], row['iter']) for row in logged(trained.work_dir) if 'loss' in row]
    assert steps == [(2, 3), (2, 4)]


def test_a_dry_run(trained: Run):
    """It goes on from the run's checkpoint in a folder of its own."""
    there = sorted(trained.work_dir.rglob('*'))
    options = [*trained.options, 'train_cfg.max_epochs=3']
    arguments = [CONFIG, '--resume', '--dry-run', '--work-dir', 'work', '--cfg-options', *options]
    said = call(ROOT / 'tools/train.py', trained.work_dir, *arguments)
    assert 'Dry run: everything was built. One step: loss' in said
    done = 2 * len(list(trained.work_dir.glob('epoch_*.pth')))
    assert f'At this rate {6 - done} iterations would take' in said
    assert sorted(trained.work_dir.rglob('*')) == there


def test_same_as_the_librarys_own_script(trained: Run, tmp_path: Path):
    call(MMDET_TRAIN, tmp_path / 'w', CONFIG, '--work-dir', 'w', '--cfg-options', *trained.options)
    assert [row['loss'] for row in logged(tmp_path / 'w') if 'loss' in row] == trained.losses


PURE_PYTHON = """
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmdet.evaluation import CocoMetric
from mmdet.models import FPN, DetDataPreprocessor, RetinaHead, RetinaNet
from mmdet.models.losses import FocalLoss, L1Loss
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder, MaxIoUAssigner, PseudoSampler
from mmengine.dataset import DefaultSampler
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from torch.optim import SGD

from ss_backbones import SSPVTv2

default_scope = None
model = dict(
    type=RetinaNet,
    data_preprocessor=dict(type=DetDataPreprocessor, pad_size_divisor=32),
    backbone=dict(type=SSPVTv2, arch='b0', out_indices=(1, 2, 3)),
    neck=dict(type=FPN, in_channels=[64, 160, 256], out_channels=16, num_outs=3),
    bbox_head=dict(
        type=RetinaHead, num_classes=80, in_channels=16, feat_channels=16, stacked_convs=1,
        anchor_generator=dict(type=AnchorGenerator, scales=[4], ratios=[1.0], strides=[8, 16, 32]),
        bbox_coder=dict(type=DeltaXYWHBBoxCoder),
        loss_cls=dict(type=FocalLoss), loss_bbox=dict(type=L1Loss)),
    train_cfg=dict(
        assigner=dict(type=MaxIoUAssigner, pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
        sampler=dict(type=PseudoSampler), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(nms_pre=10, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=4))
pipeline = [
    dict(type=LoadImageFromFile), dict(type=LoadAnnotations, with_bbox=True), dict(type=Resize, scale=(64, 64)),
    dict(type=PackDetInputs, meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
data = dict(type=CocoDataset, **PLACE, pipeline=pipeline)
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=True), dataset=data)
test_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False), dataset=data)
test_evaluator = dict(type=CocoMetric, ann_file=PLACE['data_root'] + '/annotations.json', metric='bbox')
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=1)
test_cfg = dict(type=TestLoop)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.001))
"""


def test_a_pure_python_config_and_what_it_leaves_in_the_work_dir(tmp_path: Path):
    place = write_coco(tmp_path / 'set', CocoDataset.METAINFO['classes'], images=4)
    config = write(tmp_path / 'pure.py', PURE_PYTHON.replace('PLACE', repr(place)))
    call(ROOT / 'tools/train.py', tmp_path / 'w', config, '--work-dir', 'w', '--cfg-options', 'randomness.seed=0')
    losses = [row['loss'] for row in logged(tmp_path / 'w') if 'loss' in row]
    assert losses and all(0 < loss < 100 for loss in losses)
    arguments = [str(tmp_path / 'w/pure.py'), str(tmp_path / 'w/epoch_1.pth'), '--work-dir', 'v']
    call(ROOT / 'tools/test.py', tmp_path / 'v', *arguments)
    assert 'coco/bbox_mAP' in json.loads(max((tmp_path / 'v').glob('*/*.json')).read_text())


def test_a_pure_python_config_that_imports_what_is_not_there(capsys: pytest.CaptureFixture, tmp_path: Path):
    text = PURE_PYTHON.replace('PLACE', "dict(data_root='')").replace('FPN', 'FPM')
    assert 'Failed to import FPM from mmdet.models in' in refuse(capsys, 'train', write(tmp_path / 'a.py', text))


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('from ss_backbones import BlockSetting, uniform_setting', 'the class BlockSetting as BlockSetting'),
        ("from ss_backbones import SSPVTv2\nmodel = dict(backbone=dict(type=SSPVTv2))\ndel SSPVTv2",
         'the class SSPVTv2 as model.backbone.type, which mmengine cannot write'),
    ],
)  # fmt: skip
def test_classes_in_a_config_that_is_not_pure_python(
    capsys: pytest.CaptureFixture, tmp_path: Path, text: str, said: str
):
    assert said in refuse(capsys, 'train', write(tmp_path / 'a.py', f'_base_ = {CONFIG!r}\n{text}\n'))


# ---- the same for a segmenter: one image, two iterations


SEGMENTER = str(ROOT / 'configs/upernet/upernet_ss-pvtv2-b0_8xb2-160k_ade20k-512x512.py')
MMSEG_TRAIN = Path(find_spec('mmseg').origin).parent / '.mim/tools/train.py'


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp('segmenter')
    place = write_segmentation(folder / 'set', '.jpg', '.png')
    options = [
        'randomness.seed=0',
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=2',
        'model.backbone.init_cfg=None',
        'optim_wrapper.optimizer.lr=0.05',  # enough for a right pixel after two iterations
        'param_scheduler.0.start_factor=1',
        'model.decode_head.channels=16',
        'model.auxiliary_head.channels=16',
        'model.data_preprocessor.size=(64,64)',
        'train_dataloader.dataset.pipeline.2.scale=(64,64)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    ]
    for part in ('train', 'val', 'test'):
        options += [
            f'{part}_dataloader.num_workers=0',
            f'{part}_dataloader.persistent_workers=False',
            f'{part}_dataloader.dataset.data_root={place["data_root"]}',
            *(f'{part}_dataloader.dataset.data_prefix.{key}={path}' for key, path in place['data_prefix'].items()),
        ]
        if part != 'train':
            options.append(f'{part}_dataloader.dataset.pipeline.1.scale=(64,64)')
    call(ROOT / 'tools/train.py', folder / 'work', SEGMENTER, '--work-dir', 'work', '--cfg-options', *options)
    return Run(folder / 'work', options, logged(folder / 'work'))


def test_segmenter_trains_and_tests(segmenter: Run, tmp_path: Path):
    assert len(segmenter.losses) == 2
    assert all(0 < loss < 100 for loss in segmenter.losses)
    checkpoint = str(segmenter.work_dir / 'iter_2.pth')
    arguments = [SEGMENTER, checkpoint, '--work-dir', 'w', '--cfg-options', *segmenter.options]
    call(ROOT / 'tools/test.py', tmp_path / 'w', *arguments)
    figures = json.loads(max((tmp_path / 'w').glob('*/*.json')).read_text())
    for key in ('aAcc', 'mIoU'):
        assert figures[key] == segmenter.rows[-1][key] > 0


def test_segmenter_resumes(segmenter: Run):
    options = [*segmenter.options, 'train_cfg.max_iters=3', 'train_cfg.val_interval=9']
    arguments = ['--work-dir', 'work', '--resume', SEGMENTER, '--cfg-options', *options]
    assert 'resumed epoch: 0, iter: 2' in call(ROOT / 'tools/train.py', segmenter.work_dir, *arguments)
    assert [row['iter'] for row in logged(segmenter.work_dir) if 'loss' in row] == [3]


@pytest.mark.skipif(bool(installed('onedl-mmsegmentation')), reason='the forks alone do not find mmseg:: in a config')
def test_segmenter_as_mmseg_itself_trains_it(segmenter: Run, tmp_path: Path):
    call(MMSEG_TRAIN, tmp_path / 'w', SEGMENTER, '--work-dir', 'w', '--cfg-options', *segmenter.options)
    assert [row['loss'] for row in logged(tmp_path / 'w') if 'loss' in row] == segmenter.losses
