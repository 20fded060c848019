"""Configs by name, the library that they are for, and that what mmengine writes of them can be read again."""

from pathlib import Path

import pytest

pytest.importorskip('mmdet')

import mmdet  # noqa: E402
from mmengine.config import Config  # noqa: E402
from torch import nn  # noqa: E402

import ss_backbones  # noqa: E402
from ss_backbones import BlockSetting, SSPVTv2, specific_setting  # noqa: E402
from ss_backbones.errors import UsageError  # noqa: E402
from ss_backbones.openmmlab.backbone_building import own_class  # noqa: E402
from ss_backbones.openmmlab.configs import find_config, library_of, read_config  # noqa: E402
from ss_backbones.settings import as_settings  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
NAME = 'mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py'


def test_names_of_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config('a/b.py') == 'a/b.py'
    assert Path(find_config(f'ss_backbones::{NAME}')).resolve() == ROOT / 'configs' / NAME
    theirs = find_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    assert Path(theirs).is_file() and Path(theirs).is_relative_to(Path(mmdet.__file__).parent)
    assert read_config(f'ss_backbones::{NAME}', {}).to_dict() == Config.fromfile(ROOT / 'configs' / NAME).to_dict()


def test_an_installed_package_has_its_configs_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / 'elsewhere/ss_backbones/.mim/configs/a'
    inside.mkdir(parents=True)
    (inside / 'b.py').touch()
    monkeypatch.setattr(ss_backbones.__spec__, 'origin', str(tmp_path / 'elsewhere/ss_backbones/__init__.py'))
    assert find_config('ss_backbones::a/b.py') == str(inside / 'b.py')
    with pytest.raises(UsageError, match='ss_backbones has no config a/c.py. Perhaps ss_backbones::a/b.py'):
        find_config('ss_backbones::a/c.py')


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        (f'ss_backbone::{NAME}', 'ss_backbone is not installed'),
        (f'::{NAME}', 'what stands before :: is not installed'),
        (f'ss_backbones::{NAME[:-4]}x.py', f'no config {NAME[:-4]}x.py. Perhaps ss_backbones::{NAME}'),
        ('ss_backbones::zzzz', 'no config zzzz. Its configs lie in .*/configs'),
        ('ss_backbones::', 'no config without a name'),
    ],
)
def test_names_of_no_config(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        read_config(name, {})


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with two folders of configs, and a folder of configs that the package brings."""
    for name in (
        'own/a/cat_dog_3.py',
        'own/a/cat_dog_1.py',
        'own/b/cat_dog_2.py',
        'own/b/cat_dog_1.py',
        'own/b/deep/cat_dog_4.py',
        'package/.mim/configs/c/cat_dog_4.py',
        'package/.mim/configs/a/bird.py',
        'package/.mim/configs/c/bird.py',
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'own/c').symlink_to(tmp_path / 'package/.mim/configs/c')
    monkeypatch.setattr(ss_backbones.__spec__, 'origin', str(tmp_path / 'package/__init__.py'))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ('name', 'near'),
    [
        # a typo: the nearest of its folder, of those beside and of the package's, three of them, each file once
        ('own/a/cat-dog_3.py', ['own/a/cat_dog_3.py', 'own/c/cat_dog_4.py', 'own/b/cat_dog_2.py']),
        ('own/a/cat_dog_2.py', ['own/b/cat_dog_2.py']),  # another folder's
        ('own/b/cat_dog_1', ['own/b/cat_dog_1.py', 'own/a/cat_dog_1.py']),  # without its end
        ('own/x/cat_dog_2.py', ['own/b/cat_dog_2.py']),  # a folder that there is not
        ('own/cat_dog_2.py', ['own/b/cat_dog_2.py']),  # its folder was left out
        ('bird.py', ['ss_backbones::a/bird.py', 'ss_backbones::c/bird.py']),
        ('nowhere/c/bird.py', ['ss_backbones::c/bird.py', 'ss_backbones::a/bird.py']),
        ('cat_dog_4.py', ['ss_backbones::c/cat_dog_4.py']),
    ],
)
def test_configs_near_to_one_that_there_is_not(folders: None, name: str, near: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        read_config(name, {})
    assert str(error.value) == f'there is no config file {name}. Perhaps {" or ".join(near)}'


def test_no_config_is_near(folders: None) -> None:
    with pytest.raises(UsageError, match='Configs are found in the folder configs/, and those of an installed lib'):
        read_config('own/a/elephant.py', {})


@pytest.mark.parametrize(
    ('text', 'library'),
    [
        ("default_scope = 'mmseg'", 'mmseg'),
        ("default_scope = None\nmodel = dict(type='mmdet.MaskRCNN')", 'mmdet'),
        ("model = dict(type='mmseg.models.segmentors.EncoderDecoder')", 'mmseg'),
        ('from mmdet.models import MaskRCNN\ndefault_scope = None\nmodel = dict(type=MaskRCNN)', 'mmdet'),
        ("_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\ndefault_scope = None", 'mmdet'),
        ("default_scope = None\nmodel = dict(type='MaskRCNN')", None),
        ('', None),
    ],
)
def test_the_library_of_a_config(tmp_path: Path, text: str, library: str | None) -> None:
    (tmp_path / 'a.py').write_text(text)
    config = read_config(str(tmp_path / 'a.py'), {})
    assert library_of(config) == library
    assert library_of(config.to_dict()) == library


class Own(SSPVTv2):
    """Of a package outside."""


@pytest.mark.parametrize(
    ('kind', 'cls'),
    [
        ('SSPVTv2', SSPVTv2),
        ('ss_backbones.SSPVTv2', SSPVTv2),
        (f'{SSPVTv2.__module__}.SSPVTv2', SSPVTv2),
        (SSPVTv2, SSPVTv2),
        (Own, Own),
        ('mmdet.ResNet', None),
        ('torch.nn.Linear', None),
        (nn.Linear, None),
        ('Nothing', None),
        ('ss_backbones.ImageClassifier', None),
        (None, None),
    ],
)
def test_whose_a_backbone_is(kind: object, cls: type | None) -> None:
    assert own_class({'type': kind}) is cls


@pytest.mark.parametrize(
    'text',
    [
        'import ss_backbones\nmodel = dict(backbone=dict(settings=ss_backbones.specific_setting(8)))',
        'from ss_backbones import specific_setting\nmodel = dict(backbone=dict(settings=specific_setting(8)))',
    ],
)
def test_settings_as_objects_are_written_as_plain_values(tmp_path: Path, text: str) -> None:
    (tmp_path / 'a.py').write_text(f"_base_ = '{ROOT}/configs/{NAME}'\n{text}")
    config = Config.fromfile(tmp_path / 'a.py')
    assert isinstance(config.model.backbone.settings[0], BlockSetting)
    config.dump(tmp_path / 'b.py')
    again = Config.fromfile(tmp_path / 'b.py').model.backbone
    assert isinstance(again.settings[0], dict)
    assert as_settings(again.settings, 8) == specific_setting(8)
