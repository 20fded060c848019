"""The package as a wheel: what it holds, and its configs and its command in an environment without the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('hatchling')

from mmengine.config import Config, ConfigDict  # noqa: E402
from mmengine.registry import (  # noqa: E402
    DATA_SAMPLERS,
    DATASETS,
    FUNCTIONS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    VISUALIZERS,
    Registry,
)

import ss_backbones  # noqa: E402, F401 - makes ss_backbones:: a prefix of configs

ROOT = Path(__file__).resolve().parents[2]
# the configs that name types; all others inherit from them
CONFIGS = [
    path.relative_to(ROOT / 'configs').as_posix()
    for path in sorted((ROOT / 'configs').glob('*/*.py'))
    if 'type=' in path.read_text()
]
DETECTOR = 'mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py'
DEMO = 'demo/mask-rcnn_ss-pvtv2-b0_shapes.py'

# what a user's program sees who is anywhere and has the wheel
READS = f"""
import json, mmengine.hub, ss_backbones
from mmengine.config import Config
child, hub = Config.fromfile('child.py'), mmengine.hub.get_config('ss_backbones::{DETECTOR}')
print(json.dumps([ss_backbones.__file__, hub.filename, child.to_dict()['model'], hub.to_dict()['model']]))
"""


def run(command: list[object], folder: Path) -> str:
    """What a command says, which has to succeed."""
    environment = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    result = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f'{command}: {result.stdout}{result.stderr}'
    return result.stdout


def build(target: str, source: Path, folder: Path) -> Path:
    """The wheel or the sdist of a source tree, made in a folder that holds nothing else."""
    command = [sys.executable, '-m', 'hatchling', 'build', '--target', target, '--directory', str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build('wheel', ROOT, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder bin of an environment with the wheel, and with the libraries of the one that runs this test."""
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=False)
    install = [sys.executable, '-m', 'pip', '--python', folder / 'bin/python', 'install', '--no-deps', '--no-index']
    subprocess.run([*install, wheel], check=True, capture_output=True)
    where = run([folder / 'bin/python', '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'], folder)
    # the .pth file of an editable install, there, is not read: this is not a site directory of the new environment
    (Path(where.strip()) / 'libraries.pth').write_text(sysconfig.get_path('purelib'))
    return folder / 'bin'


def test_the_wheel_holds_all_files_of_the_package_and_the_configs_and_tools(wheel: Path) -> None:
    tracked = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip('this is no git checkout')
    expected = set()
    for name in map(Path, tracked.stdout.splitlines()):
        if name.parts[0] in ('configs', 'tools'):
            expected.add(f'ss_backbones/.mim/{name.as_posix()}')
        elif name.parts[0] == 'ss_backbones' and not (ROOT / name).is_symlink():
            expected.add(name.as_posix())
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if '.dist-info/' not in name}
    assert {'ss_backbones/py.typed', 'ss_backbones/.mim/model-index.yml'} < expected
    assert held == expected


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(build('sdist', ROOT, tmp_path / 'sdist'), tmp_path)
    (source,) = tmp_path.glob('ss_backbones-*')
    with ZipFile(wheel) as expected, ZipFile(build('wheel', source, tmp_path / 'wheel')) as found:
        assert set(found.namelist()) == set(expected.namelist())


def test_configs_of_the_installed_package_by_name(programs: Path, tmp_path: Path) -> None:
    (tmp_path / 'child.py').write_text(
        f"_base_ = 'ss_backbones::{DETECTOR}'\nmodel = dict(backbone=dict(drop_path_rate=0.25))\n"
    )
    module, file, child, hub = json.loads(run([programs / 'python', '-c', READS], tmp_path).splitlines()[-1])
    package = Path(module).parent
    assert package.is_relative_to(programs.parent)
    assert Path(file) == package / '.mim/configs' / DETECTOR
    assert hub == json.loads(json.dumps(Config.fromfile(ROOT / 'configs' / DETECTOR).to_dict()['model']))
    assert child['backbone'] == hub['backbone'] | {'drop_path_rate': 0.25}


def test_the_installed_command_trains_the_demo(programs: Path, tmp_path: Path) -> None:
    command = programs / 'ss-backbones'
    run([command, 'make-shapes', 'data/shapes', '--train', 2, '--val', 1, '--size', 64], tmp_path)
    short = ['train_cfg.max_iters=2', 'train_cfg.val_interval=9', 'default_hooks.checkpoint.interval=2']
    for loader, size in (('train', 2), ('val', 1)):
        short += [f'{loader}_dataloader.{word}' for word in (f'batch_size={size}', 'num_workers=0')]
    short.append('train_dataloader.persistent_workers=False')
    run([command, 'train', f'ss_backbones::{DEMO}', '--cfg-options', *short], tmp_path)
    assert (tmp_path / 'work_dirs/demo/iter_2.pth').exists()


def parts(config: Config) -> Iterator[tuple[Registry, ConfigDict]]:
    """What a runner builds by itself, with the registry that it asks."""
    places = [(MODELS, [config.model]), (OPTIM_WRAPPERS, [config.optim_wrapper])]
    places += [(PARAM_SCHEDULERS, config.param_scheduler), (VISUALIZERS, [config.get('visualizer')])]
    places += [(HOOKS, config.get('default_hooks', {}).values()), (HOOKS, config.get('custom_hooks') or [])]
    for split in ('train', 'val', 'test'):
        loader, metrics = config.get(f'{split}_dataloader') or {}, config.get(f'{split}_evaluator')
        places += [(DATASETS, [loader.get('dataset')]), (DATA_SAMPLERS, [loader.get('sampler')])]
        places += [(FUNCTIONS, [loader.get('collate_fn')]), (LOOPS, [config.get(f'{split}_cfg')])]
        places.append((METRICS, metrics if isinstance(metrics, list) else [metrics]))
    for registry, found in places:
        yield from ((registry, part) for part in found if isinstance(part, ConfigDict) and 'type' in part)


def classes(config: Config) -> list[object]:
    """What the types of a config name, each in the scope in which it is looked for."""
    found = []
    for registry, part in parts(config):
        scope = part.get('_scope_', config.get('default_scope', 'mmengine'))
        with registry.switch_scope_and_registry(scope) as node:
            found.append(node.get(part['type']) or part['type'])
    return found


@pytest.mark.parametrize('name', CONFIGS)
def test_types_mean_the_same_in_a_config_that_inherits_by_name(name: str, tmp_path: Path) -> None:
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = 'ss_backbones::{name}'\n")
    itself = classes(Config.fromfile(ROOT / 'configs' / name))
    assert len(itself) > 8
    assert not [found for found in itself if isinstance(found, str)]
    assert classes(Config.fromfile(child)) == itself
