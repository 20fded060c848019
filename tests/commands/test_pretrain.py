"""ss-backbones pretrain and evaluate as a user calls them, on a few generated images."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch

pytest.importorskip('mmengine')

from installed import OLD_TIMM, needs_mmdet  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.logging import MessageHub, MMLogger  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from tiny_images import ROOT, write_classes, write_config  # noqa: E402
from tool_call import call_command, run_tool  # noqa: E402

from ss_backbones import commands, load_weights  # noqa: E402
from ss_backbones.classification import build_dataset  # noqa: E402
from ss_backbones.classification.hooks import SummaryHook  # noqa: E402
from ss_backbones.training.hooks import ProgressHook  # noqa: E402

REAL = ROOT / 'configs/imagenet/ss-pvtv2-b0_8xb128_in1k.py'
EMA = "custom_hooks = [*_base_.custom_hooks, dict(type='ss_backbones.AveragedWeightsHook', momentum=0.1)]\n"
FITS = 'train_dataloader.batch_size=8'
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    monkeypatch.setattr(Config, 'pretty_text', '')  # formatting the config for the log takes longer than the rest
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: object) -> tuple[int, str]:
        """The exit code, and everything that was said."""
        MMLogger._instance_dict.clear()  # one of an earlier run would write where nobody listens any more
        return call_command(name, arguments, capfd)

    return run


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp('classes'))


@pytest.fixture(scope='module')
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config and the work dir of its run of two epochs, with an average of the weights."""
    folder = tmp_path_factory.mktemp('trained')
    config = write_config(folder / 'tiny.py', EMA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', '')
        assert (
            commands.run('pretrain', [str(config), '--data-root', str(images), '--work-dir', str(folder / 'work')]) == 0
        )
    return config, folder / 'work'


def log_of(work: Path) -> str:
    return next(work.glob('*/*.log')).read_text()


def validations(work: Path) -> list[dict[str, float]]:
    lines = [line for line in log_of(work).splitlines() if 'Epoch(val) [' in line and 'accuracy/top1' in line]
    return [{name: float(value) for name, value in re.findall(r'(\S*accuracy/\w+): +([\d.]+)', line)} for line in lines]


def test_a_run_leaves_checkpoints_curves_and_a_summary(trained: tuple[Path, Path]) -> None:
    work = trained[1]
    assert {'epoch_1.pth', 'epoch_2.pth'} <= {path.name for path in work.glob('*.pth')}
    assert len(list(work.glob('best_accuracy_top1_epoch_*.pth'))) == 1
    assert list(work.rglob('events.out.tfevents.*'))
    log = log_of(work)
    train = next(line for line in log.splitlines() if 'Epoch(train)' in line)
    assert all(f'{name}: ' in train for name in ('eta', 'images_per_s', 'memory_mb', 'loss'))
    assert 'Learning rate 0.001 for 1024 images scaled to 7.8125e-06 for 8 images an update' in log
    validated = validations(work)
    assert len(validated) == 2 and set(validated[0]) == {
        f'{raw}accuracy/{name}' for raw in ('', 'raw_') for name in ('top1', 'top5', 'cross_entropy')
    }
    best = max(range(2), key=lambda i: validated[i]['accuracy/top1'])
    top = validated[best]['accuracy/top1']
    assert f'Best: top-1 {top:.2f} at epoch {best + 1}; last: {validated[1]["accuracy/top1"]:.2f} at 2.' in log
    assert f'best_accuracy_top1_epoch_{best + 1}.pth' in log[log.index('Summary') :]
    scalars = [json.loads(line) for line in next(work.rglob('scalars.json')).read_text().splitlines()]
    assert {'lr', 'loss', 'images_per_s'} <= scalars[0].keys()


def own_accuracy(network: torch.nn.Module, images: Path) -> float:
    data = build_dataset(
        str(images), 'val', training=False, transform=dict(input_size=32, crop_pct=0.9, interpolation='bicubic')
    )
    mean, std = (255 * torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ('mean', 'std'))
    with torch.no_grad():
        right = [network(((x.float() - mean) / std)[None]).argmax().item() == target for x, target in data]
    return 100 * sum(right) / len(right)


def test_the_best_may_be_that_of_the_raw_weights(call: Call, images: Path, tmp_path: Path) -> None:
    best = "default_hooks = dict(checkpoint=dict(save_best='raw_accuracy/top1'))\n"
    code, _ = call('pretrain', write_config(tmp_path / 'tiny.py', EMA + best), '--data-root', images)
    assert code == 0 and len(list(tmp_path.rglob('best_raw_accuracy_top1_epoch_*.pth'))) == 1


def test_the_summary_names_the_best_epoch(caplog: pytest.LogCaptureFixture) -> None:
    hub = MessageHub('summary')
    runner = SimpleNamespace(message_hub=hub, logger=logging.getLogger('summary'), iter=0, epoch=0)
    hook = SummaryHook()
    hook.before_train(runner)
    for runner.epoch, top in ((1, 40.0), (2, 60.0), (3, 50.0)):
        hook.after_val_epoch(runner, {'accuracy/top1': top})
    with caplog.at_level(logging.INFO, logger='summary'):
        hook.after_train(runner)
    assert 'Trained to epoch 3' in caplog.text and 'Best: top-1 60.00 at epoch 2; last: 50.00 at 3.' in caplog.text


def test_both_weights_are_validated_and_evaluated(call: Call, trained: tuple[Path, Path], images: Path) -> None:
    config, work = trained
    last = validations(work)[-1]
    checkpoint = work / 'epoch_2.pth'
    states = torch.load(checkpoint, weights_only=True)
    for raw in (False, True):
        network = timm.create_model('ss_pvt_v2_b0', num_classes=3).eval()
        load_weights(network, states, use_ema=not raw)
        options = ['--raw'] if raw else []
        code, said = call('evaluate', config, checkpoint, '--data-root', images, '--work-dir', 'e', *options)
        assert code == 0
        found = dict(re.findall(r'(accuracy/\w+) ([\d.]+)', said.splitlines()[-1]))
        start = 'raw_' if raw else ''
        assert float(found['accuracy/top1']) == pytest.approx(last[f'{start}accuracy/top1'], abs=1e-2)
        assert float(found['accuracy/cross_entropy']) == pytest.approx(last[f'{start}accuracy/cross_entropy'], abs=1e-3)
        assert float(found['accuracy/top1']) == pytest.approx(own_accuracy(network, images), abs=1e-2)
    assert last['accuracy/cross_entropy'] != last['raw_accuracy/cross_entropy']
    code, said = run_tool('evaluate', config, checkpoint, '--data-root', images, '--split', 'train', '--work-dir', 'e')
    assert code == 0 and said.splitlines()[-1].startswith('accuracy/top1 ')


def test_other_layouts_are_evaluated_and_other_heads_refused(
    call: Call, trained: tuple[Path, Path], images: Path
) -> None:
    config = trained[0]
    model = timm.create_model('ss_pvt_v2_b0', num_classes=3).eval()
    torch.save(model.state_dict(), 'flat.pth')
    code, said = call('evaluate', config, 'flat.pth', '--data-root', images, '--work-dir', 'e')
    assert code == 0
    assert float(re.findall(r'accuracy/top1 ([\d.]+)', said)[-1]) == pytest.approx(
        own_accuracy(model, images), abs=1e-2
    )
    torch.save(timm.create_model('ss_pvt_v2_b0', num_classes=5).state_dict(), 'other.pth')
    torch.save(timm.create_model('ss_vit_tiny_patch16_224').state_dict(), 'vit.pth')
    for name, text in (
        ('other.pth', 'has no head for these classes'),
        ('vit.pth', 'Nothing was loaded'),
        ('no.pth', 'no.pth does not exist'),
    ):
        code, said = call('evaluate', config, name, '--data-root', images, '--work-dir', 'e')
        assert code == 2 and text in '\n'.join(said.splitlines()[-5:]), said[-900:]


def test_the_checkpoint_goes_into_a_detectors_backbone(trained: tuple[Path, Path]) -> None:
    path = trained[1] / 'epoch_2.pth'
    cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    backbone = MODELS.build(dict(type='ss_backbones.SSPVTv2', arch='b0', ramp='bias', init_cfg=cfg))
    backbone.init_weights()
    theirs = torch.load(path, weights_only=True)['state_dict']
    state = backbone.state_dict()
    assert len(state) > 100
    for key, value in state.items():
        torch.testing.assert_close(value, theirs[f'backbone.{key}'], rtol=0, atol=0)


def test_a_finished_run_is_not_overwritten(call: Call, trained: tuple[Path, Path], images: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained[1].glob('*.pth')}
    code, said = call('pretrain', trained[0], '--data-root', images, '--work-dir', trained[1])
    assert code == 2 and 'has checkpoints of an earlier run (epoch_2.pth). Go on from there with --resume' in said
    assert before == {path: path.stat().st_mtime_ns for path in trained[1].glob('*.pth')}


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['nothing.py'], 'there is no config file nothing.py'),
        ([REAL], 'data/imagenet is no folder'),
        ([REAL, '--data-root', 'IMAGES', '--amp', 'bf16'], '--amp bf16 needs a GPU'),
        ([REAL, '--data-root', 'IMAGES', '--amp', 'fp8'], "invalid choice: 'fp8'"),
        ([REAL, '--data-root', 'IMAGES', '--launcher', 'pytorch'], 'Start with tools/dist_train.sh'),
        ([REAL, '--data-root', 'IMAGES', '--launcher', 'slurm'], 'Start with tools/slurm_train.sh'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'a'], '--cfg-options takes KEY=VALUE pairs'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_dataloader.batch_size=7'], 'must be even: mixup'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_cfg.max_epochs=3'], 'but the training has 3 epochs'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'model.backbone.name=pvt9'], "name='pvt9' is no timm model"),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_dataloader.batch_size=26'], 'the 24 images'),
        (
            [REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_dataloader.batch_size=abc'],
            "batch_size='abc' must be",
        ),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_dataloader.drop_last=False'], 'must be True: mixup'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_cfg.max_epochs=0'], 'max_epochs=0 must be a whole'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'optim_wrapper.accumulative_counts=0'], 'counts=0 must be'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_dataloader=None'], 'needs train_dataloader'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'val_dataloader=None'], 'say --no-validate'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'modle.backbone.num_classes=3'], 'perhaps model'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'qqqq=3'], 'there is no qqqq in'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-option', 'a=3'], 'unrecognized arguments'),
        (
            [REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_dataloader.dataset.transform.input_sise=3'],
            'input_sise',
        ),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_dataloader.sampler.repeats=0'], 'repeats=0 must be'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'train_cfg.max_epoch=9'], 'max_epoch'),
        (
            [
                REAL,
                '--data-root',
                'IMAGES',
                '--cfg-options',
                'param_scheduler.1.etamin=9',
                'train_dataloader.batch_size=8',
            ],
            'etamin',
        ),
        ([REAL, '--data-root', 'IMAGES', '--work-dir', REAL], 'cannot be the work dir'),
        ([REAL, '--data-root', 'IMAGES', '--cfg-options', 'model.backbone.settings=odd'], 'settings='),
        (
            [REAL, '--data-root', 'IMAGES', '--cfg-options', 'optim_wrapper.optimizer.momentum=1', FITS],
            "argument 'momentum'",
        ),
        (
            [REAL, '--data-root', 'IMAGES', '--cfg-options', 'optim_wrapper.paramwise_cfg.layer_decay_rate=2', FITS],
            'layer_decay_rate=2 must be a number above 0 and up to 1',
        ),
        pytest.param(
            [ROOT / 'configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py'],
            'is no config of a classifier: its model is MaskRCNN',
            marks=needs_mmdet,
        ),
    ],
)
def test_command_lines_that_are_wrong(call: Call, images: Path, arguments: list, text: str) -> None:
    if torch.cuda.is_available() and '--amp' in arguments:
        pytest.skip('there is a GPU')
    code, said = call('pretrain', *(images if word == 'IMAGES' else word for word in arguments))
    assert code == 2 and text in said and 'Traceback' not in said, said[-900:]


def damaged(images: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(images, tmp_path / 'damaged'))


@pytest.mark.parametrize('workers', [0, 1])
def test_a_broken_image_stops_a_run_in_words(call: Call, images: Path, tmp_path: Path, workers: int) -> None:
    folder = damaged(images, tmp_path)
    (folder / 'train/class1/3.png').write_bytes(b'')
    options = [f'train_dataloader.num_workers={workers}', 'train_dataloader.dataset.on_broken=stop']
    config = write_config(tmp_path / 'tiny.py')
    code, said = call('pretrain', config, '--data-root', folder, '--no-validate', '--cfg-options', *options)
    assert code == 2 and 'Traceback' not in said.splitlines()[-1]
    assert re.search(r'^ss-backbones pretrain: image \S+/train/class1/3.png cannot be read', said.splitlines()[-1])


def test_a_config_with_a_base_of_the_library_trains(call: Call, images: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / 'tiny.py')
    text = config.read_text()
    assert str(REAL) in text
    config.write_text(text.replace(str(REAL), f'ss_backbones::imagenet/{REAL.name}'))
    assert call('pretrain', config, '--data-root', images)[0] == 0


def test_a_broken_image_is_skipped_and_named(call: Call, images: Path, tmp_path: Path) -> None:
    folder = damaged(images, tmp_path)
    (folder / 'train/class1/3.png').write_bytes(b'')
    (folder / 'val/class1/3.png').write_bytes(b'')
    code, said = call('pretrain', write_config(tmp_path / 'tiny.py'), '--data-root', folder)
    assert code == 0
    assert '/train/class1/3.png cannot be read' in said and '/val/class1/3.png cannot be read' in said
    assert '1 of 15 images could not be read and were left out' in said


@pytest.mark.parametrize(
    ('change', 'options', 'text'),
    [
        (lambda f: shutil.rmtree(f / 'val'), [], 'has no folder val/ and no val.tar; there is train/'),
        (lambda f: [p.unlink() for p in (f / 'train/class1').iterdir()], [], 'class1 hold no image'),
        (
            lambda f: None,
            ['model.backbone.num_classes=7'],
            'have 3 classes (class0, class1, class2, ...), the head has 7',
        ),
        (lambda f: (f / 'val/class1').rename(f / 'val/klass1'), [], 'other classes: class1, klass1 are in one of them'),
        (
            lambda f: shutil.rmtree(f / 'train/class2'),
            ['model.backbone.num_classes=2'],
            'validation data have 3 classes',
        ),
    ],
)
def test_classes_that_do_not_fit(
    call: Call, images: Path, tmp_path: Path, change: Callable, options: list[str], text: str
) -> None:
    folder = damaged(images, tmp_path)
    change(folder)
    options = ['--cfg-options', *options] if options else []
    code, said = call('pretrain', write_config(tmp_path / 'tiny.py'), '--data-root', folder, *options)
    assert code == 2 and text in said.splitlines()[-1], said[-900:]
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.skipif(OLD_TIMM, reason='timm 1.0.16 counts no images of x.tar|24')
def test_a_stream_with_a_class_too_many(call: Call, images: Path, tmp_path: Path) -> None:
    wds = pytest.importorskip('webdataset')
    with wds.TarWriter(str(tmp_path / 'x.tar')) as writer:
        for i, path in enumerate(sorted((images / 'train').rglob('*.png'))):
            writer.write({'__key__': f'{i:03}', 'png': path.read_bytes(), 'cls': i % 4})
    options = ['train_dataloader.dataset.split=x.tar|24', 'train_dataloader.batch_size=8']
    where = ['--data-root', tmp_path, '--dataset', 'wds/', '--no-validate']
    code, said = call('pretrain', write_config(tmp_path / 'tiny.py'), *where, '--cfg-options', *options)
    assert code == 2 and 'an image of the training data is of class 3, and the head has 3' in said.splitlines()[-1]


def test_a_stream_is_validated_by_one_process(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # timm's reader shares a stream out unevenly, and then some images count twice
    monkeypatch.setattr('ss_backbones.classification.building.get_world_size', lambda: 2)
    code, said = call('pretrain', write_config(tmp_path / 'tiny.py'), '--data-root', tmp_path, '--dataset', 'wds/')
    assert code == 2 and 'val_dataloader: a stream (wds/) can be evaluated by one process only' in said
    arguments = [write_config(tmp_path / 'tiny.py'), '--data-root', tmp_path, '--dataset', 'wds/', '--no-validate']
    code, said = call('pretrain', *arguments)
    assert code == 2 and 'timm cannot read the data set' in said  # that far it comes without a validation


@pytest.mark.parametrize('lacking', ['stages.3.norm.weight', 'head.bias'])
def test_an_incomplete_checkpoint_is_not_evaluated(
    call: Call, trained: tuple[Path, Path], images: Path, lacking: str
) -> None:
    state = torch.load(trained[1] / 'epoch_2.pth', weights_only=True)['state_dict']
    del state[f'backbone.{lacking}']
    torch.save(state, 'cut.pth')
    code, said = call('evaluate', trained[0], 'cut.pth', '--data-root', images, '--work-dir', 'e')
    assert code == 2 and 'cut.pth has no' in said and lacking in said.splitlines()[-1]


def test_evaluation_needs_no_teacher(call: Call, trained: tuple[Path, Path], images: Path, tmp_path: Path) -> None:
    more = "model['teacher'] = dict(name='resnet18', checkpoint_path='nowhere.pth')\n"
    config = write_config(tmp_path / 'taught.py', more)
    code, _ = call('evaluate', config, trained[1] / 'epoch_2.pth', '--data-root', images, '--work-dir', 'e')
    assert code == 0


def test_old_figures_do_not_pile_up_in_checkpoints() -> None:
    hub = MessageHub('pile')
    for i in range(250):
        hub.update_scalar('train/loss', float(i))
        hub.update_scalar('val/accuracy', float(i))
    ProgressHook().after_train_epoch(SimpleNamespace(message_hub=hub))
    assert hub.get_scalar('train/loss').data[0].tolist() == [float(i) for i in range(150, 250)]
    assert hub.get_scalar('train/loss').current() == 249 and len(hub.get_scalar('val/accuracy').data[0]) == 250


def test_images_per_second_count_the_waiting() -> None:
    hub = MessageHub('speed')
    summary, progress = SummaryHook(), ProgressHook()
    lines: list[str] = []
    logger = SimpleNamespace(info=lines.append)
    runner = SimpleNamespace(message_hub=hub, iter=0, epoch=1, logger=logger, work_dir='w')
    summary.before_train(runner)
    batch = {'inputs': torch.zeros(128)}
    for seconds in (0.1,) * 9 + (5.0,):
        hub.update_scalar('train/time', seconds)
        progress.after_train_iter(runner, 0, batch)
        summary.after_train_iter(runner, 0, batch)
    assert hub.get_scalar('train/images_per_s').current() == pytest.approx(1280 / 5.9)
    summary.after_train(runner)
    assert 'Images per second: 216.9 on average.' in lines[0]


def test_evaluation_looks_at_the_classes_too(call: Call, trained: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_classes(tmp_path / 'five', classes=5, train=1, val=1)
    code, said = call('evaluate', trained[0], trained[1] / 'epoch_2.pth', '--data-root', other, '--work-dir', 'e')
    assert code == 2 and 'the test data have 5 classes' in said.splitlines()[-1]


def test_without_tensorboard_it_trains_all_the_same(
    call: Call, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('ss_backbones.classification.launch.find_spec', lambda name: None)
    code, said = call('pretrain', write_config(tmp_path / 'tiny.py'), '--data-root', images, '--no-validate')
    assert code == 0 and 'tensorboard is not installed' in said
    assert not list(tmp_path.rglob('events.out*')) and (tmp_path / 'work_dirs/tiny/epoch_2.pth').exists()
