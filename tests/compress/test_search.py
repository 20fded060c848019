"""Searches of a tiny classifier, detector and segmenter from end to end."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

pytest.importorskip('mmengine')

import config_files  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from tiny_configs import config_of, make_tiny  # noqa: E402
from tiny_images import ROOT, write_classes  # noqa: E402
from tiny_training import Crash, assert_same, before_iteration, crash, load, log_of, tensors  # noqa: E402
from torch import nn  # noqa: E402

from ss_backbones import commands  # noqa: E402
from ss_backbones.compress.search_plan import SearchPlan, add_cost_loss  # noqa: E402
from ss_backbones.compress.search_runner import SearchRunner  # noqa: E402
from ss_backbones.compress.searching import SearchHook  # noqa: E402
from ss_backbones.errors import UsageError  # noqa: E402
from ss_backbones.networks import network_in  # noqa: E402
from ss_backbones.networks.searching import SearchCost, gates, search_form  # noqa: E402

ARCH = dict(embed_dim=24, depth=3, num_heads=3, patch_size=8)
PATCHES = 16
CONFIG = """
_base_ = '{root}/configs/imagenet/ss-vit-tiny_8xb128_in1k.py'
model = dict(backbone=dict(num_classes=3, img_size=32, settings='uniform', arch={arch}))
dataset = dict(data_root='{data}', transform=dict(input_size=32))
train_dataloader = dict(batch_size=8, num_workers=0, dataset=dataset)
val_dataloader = dict(batch_size=8, num_workers=0, dataset=dataset)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5, begin=0, convert_to_iter_based=True)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=2))
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture(scope='module', autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, images, and a dense network's weights."""
    folder = tmp_path_factory.mktemp('search')
    data = write_classes(folder / 'data', train=16, val=4)
    (folder / 'tiny.py').write_text(CONFIG.format(root=ROOT, data=data, arch=ARCH))
    options = dict(num_classes=3, img_size=32, settings='uniform', arch=ARCH)
    torch.save(timm.create_model('ss_vit_tiny_patch16_224', **options).state_dict(), folder / 'dense.pth')
    return folder


def search(folder: Path, name: str, *more: str, code: int = 0) -> Path:
    argv = [str(folder / 'tiny.py'), '--checkpoint', str(folder / 'dense.pth'), '--budget', '0.6', '--gate-lr', '0.2']
    argv += ['--work-dir', str(folder / name), '--no-validate', *more]
    assert commands.run('search', [*argv, '--cfg-options', f'experiment_name={folder.name}{name}{len(more)}']) == code
    return folder / name


@pytest.fixture(scope='module')
def done(folder: Path) -> Path:
    return search(folder, 'done')


def test_what_a_search_leaves(done: Path, folder: Path) -> None:
    found = json.loads((done / 'found.json').read_text())
    assert [len(found[key]) for key in ('settings', 'mixers', 'hidden')] == [3, 3, 3]
    assert [record['iteration'] for record in found['history']] == list(range(1, 13))
    assert found['history'][-1]['macs'] == found['macs'] < found['history'][0]['macs'] <= found['dense_macs']
    assert [setting['hidden'] for setting in found['settings']] == found['hidden'] != [96] * 3
    assert (done / 'found.png').stat().st_size > 10000
    log = log_of(done)
    assert 'loss_task' in log and 'loss_cost' in log and 'gmacs' in log and 'attention_blocks' in log
    scalars = next(done.glob('*/vis_data/scalars.json')).read_text()
    assert 'gates/hidden_02' in scalars and 'gates/mixer_00' in scalars
    assert 'attention' in found['mixers']
    # the config trains the network that was found, from its weights
    config = Config.fromfile(done / 'found.py')
    options = dict(config.model.backbone)
    network = timm.create_model(options.pop('name'), **options)
    assert [(s.mixer, s.hidden) for s in network.settings] == list(zip(found['mixers'], found['hidden'], strict=True))
    weights = load(done / 'found.pth')['state_dict']
    network.load_state_dict({key.removeprefix('backbone.'): value for key, value in weights.items()})
    dense, searched = load(folder / 'dense.pth'), load(done / 'epoch_2.pth')['state_dict']
    cut = load(done / 'found_dense.pth')['state_dict']
    assert cut.keys() == weights.keys() and torch.equal(cut['backbone.pos_embed'], dense['pos_embed'])
    for i, mixer in enumerate(found['mixers']):
        thresholds = searched[f'backbone.blocks.{i}.mlp.ffn_thresholds']
        kept = (thresholds > 0) | (thresholds == thresholds.max())  # one at least
        mlp, attn = f'blocks.{i}.mlp.', f'blocks.{i}.attn.'
        assert torch.equal(cut[f'backbone.{mlp}fc1.weight'], dense[f'{mlp}fc1.weight'][kept])
        assert torch.equal(cut[f'backbone.{mlp}fc2.weight'], dense[f'{mlp}fc2.weight'][:, kept])
        if mixer == 'attention':
            assert torch.equal(cut[f'backbone.{attn}qkv.weight'], dense[f'{attn}qkv.weight'])
        elif mixer != 'skip':
            assert torch.equal(cut[f'backbone.{attn}v.weight'], dense[f'{attn}qkv.weight'][48:])
            assert cut[f'backbone.{attn}head_probs'].eq(1).all()
    argv = [str(done / 'found.py'), '--work-dir', str(folder / 'next'), '--dry-run']
    assert commands.run('pretrain', [*argv, '--cfg-options', f'experiment_name={folder.name}next']) == 0


def test_gates_that_leave_the_class_token_alone(folder: Path) -> None:
    def switch_off() -> None:
        for hook in hooks:
            for block in hook.network.all_blocks():
                block.attn.kernel_thresholds.data.fill_(-3.0)

    hooks, before_run = [], SearchHook.before_run
    with (
        mock.patch.object(
            SearchHook, 'before_run', lambda self, runner: hooks.append(self) or before_run(self, runner)
        ),
        before_iteration(10, switch_off),
    ):
        work_dir = search(folder, 'lost')
    assert log_of(work_dir).count('is kept: the class token needs one') == 1  # and not once more in the last iteration
    mixers = json.loads((work_dir / 'found.json').read_text())['mixers']
    assert mixers.count('attention') == 1
    assert 'mixer' in (work_dir / 'found.py').read_text()


def test_a_search_that_was_too_short_says_so(folder: Path) -> None:
    work_dir = search(folder, 'short', '--gate-lr', '0.001')
    assert json.loads((work_dir / 'found.json').read_text())['mixers'] == 3 * ['attention']
    assert 'did not come to its budget' in log_of(work_dir) and '--gate-lr 0.001' in log_of(work_dir)


def test_a_search_that_is_resumed(done: Path, folder: Path) -> None:
    with before_iteration(8, crash), pytest.raises(Crash):
        search(folder, 'stopped')
    search(folder, 'stopped', '--resume')
    assert_same(*(load(place / 'epoch_2.pth') for place in (folder / 'stopped', done)))
    one, other = (dict(tensors(load(place / 'epoch_2.pth')['search'])) for place in (folder / 'stopped', done))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    results = [(place / 'found.json').read_text() for place in (folder / 'stopped', done)]
    assert results[0] == results[1]


def test_gates_that_are_not_finite(folder: Path, capsys: pytest.CaptureFixture) -> None:
    def spoil() -> None:
        for part in spoiled:
            part.ffn_thresholds.data.fill_(torch.nan)

    spoiled: list[nn.Module] = []
    build = SearchRunner.build_model

    def patched(self: SearchRunner, model: object) -> nn.Module:
        built = build(self, model)
        spoiled.extend(part for part in built.modules() if hasattr(part, 'ffn_thresholds'))
        return built

    with pytest.MonkeyPatch.context() as patch, before_iteration(2, spoil):
        patch.setattr(SearchRunner, 'build_model', patched)
        search(folder, 'nan', code=2)
    text = capsys.readouterr().err
    assert 'At iteration 3 gates are not finite any more' in text and '--gate-lr' in text


@pytest.mark.parametrize(
    ('more', 'text'),
    [
        (['--budget', '0'], "'0' must be a number above 0 and at most 1"),
        (['--budget', '1.2'], 'at most 1'),
        (['--budget', '0.05'], r'The budget of 0.05 is .* are left where all attention is skipped'),
        (['--gate-lr', '-1'], 'must be a number above 0'),
        (['--macs-shape', '0', '5'], 'must be a whole number of pixels, at least 1'),
        (['--checkpoint', 'nothing.pth'], 'nothing.pth'),
    ],
)
def test_bad_words(folder: Path, more: list[str], text: str, capsys: pytest.CaptureFixture) -> None:
    search(folder, 'bad', *more, code=2)
    err = capsys.readouterr().err
    assert re.search(text, err), err
    assert 'Traceback' not in err and not (folder / 'bad/found.json').exists()


def test_a_search_again(done: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    search(folder, 'done', code=2)
    assert 'exists already' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (dict(search=None), 'A search needs a budget'),
        (dict(search=dict(checkpoint='x')), 'A search needs a budget'),
        (dict(search=dict(budget=0.7, wait=1)), r"search has unknown keys \['wait'\]"),
        (dict(search=dict(budget=1.5)), r'must lie in \(0, 1\]'),
        (dict(search=dict(budget='half')), "search.budget='half' must be a number above 0"),
        (dict(search=dict(budget=0.7, shape=(224,))), 'must be height and width'),
        (dict(search=dict(budget=0.7)), 'starts from the weights of the trained dense network'),
        ({'model.backbone': dict(name='ss_pvt_v2_b0')}, 'cannot be searched.*ViT and Swin'),
        ({'model.backbone': dict(name='ufo_vit_tiny_patch16_224')}, 'cannot be searched'),
        ({'model.backbone': dict(name='resnet18')}, 'none of this package'),
        ({'model.backbone': dict(name='ss_vit_tiny_patch16_224', num_classes=3)}, 'Nothing was loaded'),
    ],
)
def test_configs_that_cannot_be_searched(folder: Path, change: dict[str, object], text: str) -> None:
    config = Config.fromfile(folder / 'tiny.py')
    config.search = dict(budget=0.7, checkpoint=str(folder / 'dense.pth'))
    config.update(work_dir=str(folder / 'refused'), experiment_name=f'{folder.name}{abs(hash(text))}')
    for key, value in change.items():
        if key == 'model.backbone':
            config.model.backbone = value
        else:
            config[key] = value
    with pytest.raises(Exception, match=text) as caught:
        SearchRunner.from_cfg(config)
    assert isinstance(caught.value, UsageError) or 'Nothing was loaded' in text


class Model(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone = network

    def forward(self, x: torch.Tensor, mode: str = 'tensor') -> object:
        y = self.backbone(x)
        return {'loss': y.square().mean(), 'accuracy': y.mean()} if mode == 'loss' else y


def test_the_loss_of_the_cost() -> None:
    network = timm.create_model('ss_vit_tiny_patch16_224', settings='uniform', arch=ARCH, img_size=32, num_classes=3)
    search_form(network)
    for block in network.blocks:
        block.mlp.ffn_thresholds.data[:40] = -1
    model, cost = Model(network), SearchCost.of(network, 32, 32)
    add_cost_loss(model, SearchPlan(0.5, weight=3e6), cost)
    x = torch.randn(2, 3, 32, 32)
    losses = model(x, mode='loss')
    assert isinstance(model(x), torch.Tensor) and list(losses) == ['loss_task', 'accuracy', 'loss_cost']
    macs = cost.dense - 3 * 40 * 2 * PATCHES * 24
    expected = 3e6 * ((0.5 * cost.dense - macs) / 1e9) ** 2
    torch.testing.assert_close(losses['loss_cost'].item(), expected)
    losses['loss_cost'].backward()
    assert all((gate.grad > 0).all() for gate in gates(network).values())  # above the target: all gates fall


def _segmenter(name: str, folder: Path) -> Config:
    config = make_tiny(config_files.load(name), folder, images=4)
    config.merge_from_dict({f'model.{head}.channels': 16 for head in ('decode_head', 'auxiliary_head')})
    config.train_cfg.max_iters = 4
    return config


@pytest.mark.parametrize('name', config_files.SEARCHES)
def test_the_recipe_in_detectors_and_segmenters(name: str) -> None:
    """A tenth of the dense network's learning rate, without a schedule, for some 26,000 steps of 16 images."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    config, text = config_files.load(name), (config_files.ROOT / name).read_text()
    dense, shape = config_files.read(text.split("_base_ = '../")[1].split("'")[0]), (800, 1344)
    if 'upernet' in name:
        shape = (512, 512)
    assert SearchPlan.of(config) == SearchPlan(budget=0.7, shape=shape)
    assert config.param_scheduler == [] and config.runner_type == 'ss_backbones.SearchRunner'
    assert config.optim_wrapper.optimizer.lr == pytest.approx(dense.optim_wrapper.optimizer.lr / 10)
    assert config.train_cfg.get('max_iters', 4 * 117_266 // 16) in (26_000, 29_316)
    assert config.model.backbone.pop('init_cfg') is None and dense.model.backbone.copy().pop('init_cfg')
    backbone = dense.model.backbone.to_dict()
    assert config.model.backbone.to_dict() == {key: value for key, value in backbone.items() if key != 'init_cfg'}


@pytest.mark.parametrize('name', config_files.SEARCHES)
def test_detectors_and_segmenters(name: str, tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    config = config_of(name, tmp_path) if 'mask-rcnn' in name else _segmenter(name, tmp_path)
    from mmengine.registry import init_default_scope

    from ss_backbones.openmmlab.backbone_building import build_backbone

    init_default_scope(config.default_scope)
    dense = build_backbone({**config.model.backbone, 'init_cfg': None}, config.default_scope)
    weights = {f'backbone.{key}': value for key, value in dense.state_dict().items()}
    torch.save({'state_dict': weights}, tmp_path / 'dense.pth')
    config.search = dict(budget=0.6, checkpoint=str(tmp_path / 'dense.pth'), lr=0.5, shape=(64, 96))
    runner = SearchRunner.from_cfg(config)
    network = network_in(runner.model)
    own = {id(gate) for gate in gates(network).values()}
    runner.train()
    assert not own & {id(p) for group in runner.optim_wrapper.optimizer.param_groups for p in group['params']}
    found = json.loads((tmp_path / 'work/found.json').read_text())
    assert found['history'][-1]['macs'] < found['dense_macs'] and len(found['history']) == 4
    pruned = build_backbone(
        {**config.model.backbone, 'init_cfg': None, 'ramp': None, 'settings': found['settings']}, config.default_scope
    )
    state = load(tmp_path / 'work/found.pth')['state_dict']
    mine = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    pruned.load_state_dict(mine)
    assert len(state) > len(mine)


# ss-backbones search in a process that writes down what its gates were drawn with, and where they ended
NOTING = """
import json, sys
sys.path.insert(0, {root!r})
from ss_backbones import commands, register
register()
from mmengine.dist import get_rank
from ss_backbones.compress.searching import SearchHook
from ss_backbones.networks.searching import gates
draw, end, seen = SearchHook.before_train_iter, SearchHook.after_train, []
def noted(self, runner, *rest, **named):
    draw(self, runner, *rest, **named)
    seen.append([m.draws.sum().item() for m in self.network.modules() if hasattr(m, 'draws')])
def ended(self, runner):
    end(self, runner)
    last = [gate.double().sum().item() for gate in gates(self.network).values()]
    with open({place!r} + f'/rank{{get_rank()}}.json', 'w') as file:
        json.dump([seen, last], file)
SearchHook.before_train_iter, SearchHook.after_train = noted, ended
sys.exit(commands.run('search', sys.argv[1:]))
"""


def test_two_processes(folder: Path) -> None:
    work_dir, tool = folder / 'two', folder / 'noting.py'
    tool.write_text(NOTING.format(root=str(ROOT), place=str(folder)))
    words = ['--checkpoint', folder / 'dense.pth', '--budget', '0.6', '--gate-lr', '0.2', '--no-validate']
    words += ['--work-dir', work_dir, '--cfg-options', 'train_dataloader.batch_size=4']
    done = subprocess.run(
        [str(ROOT / 'tools/dist_train.sh'), str(folder / 'tiny.py'), '2', *map(str, words)],
        env=dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1', TOOL=str(tool)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((work_dir / 'found.json').read_text())
    assert found['macs'] < found['dense_macs'] and (work_dir / 'found.py').is_file()
    first, second = (json.loads((folder / f'rank{rank}.json').read_text()) for rank in (0, 1))
    assert first == second
    assert len(first[0]) == 12 and len({draws[0] for draws in first[0]}) == 12  # others in every step


def test_the_command_with_a_detector(tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    config = config_of('mask_rcnn/mask-rcnn_ss-swin-tiny_fpn_1x_coco.py', tmp_path)
    from ss_backbones.openmmlab.backbone_building import build_backbone

    dense = build_backbone({**config.model.backbone, 'init_cfg': None}, 'mmdet')
    torch.save({f'backbone.{key}': value for key, value in dense.state_dict().items()}, tmp_path / 'dense.pth')
    config.dump(tmp_path / 'config.py')
    argv = [str(tmp_path / 'config.py'), '--budget', '0.6', '--gate-lr', '1', '--macs-shape', '64', '96']
    argv += ['--checkpoint', str(tmp_path / 'dense.pth'), '--work-dir']
    assert commands.run('search', [*argv, str(tmp_path / 'dry'), '--dry-run']) == 0
    assert not (tmp_path / 'dry').exists()
    assert commands.run('search', [*argv, str(tmp_path / 'out')]) == 0
    found = json.loads((tmp_path / 'out/found.json').read_text())
    assert found['macs'] < found['dense_macs'] and (tmp_path / 'out/found.png').is_file()
    assert commands.run('train', [str(tmp_path / 'out/found.py'), '--dry-run']) == 0
    assert commands.run('search', [*argv, str(tmp_path / 'none'), '--amp', 'bf16']) == 2
