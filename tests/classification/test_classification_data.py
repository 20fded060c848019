"""What a classifier is fed with: folders, readers, broken images, order and augmentation."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmengine')

from mmengine.runner import Runner  # noqa: E402
from tiny_images import write_classes  # noqa: E402
from torch.utils.data import IterableDataset  # noqa: E402

from ss_backbones.classification import DataError, EpochSampler, build_dataset  # noqa: E402
from ss_backbones.classification import sampler as sampler_module  # noqa: E402
from ss_backbones.classification.dataset import LEFT_OUT  # noqa: E402
from ss_backbones.classification.folders import find_split  # noqa: E402
from ss_backbones.registry import DATASETS  # noqa: E402
from ss_backbones.training.seeds import Draw  # noqa: E402

PLAIN = dict(input_size=32, crop_pct=1.0)
RECIPE = dict(input_size=32, auto_augment='rand-m9-mstd0.5-inc1', interpolation='bicubic')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / 'set')


def dataset(folder: Path, split: str = 'val', **options: object) -> object:
    options = {'training': split == 'train', 'transform': PLAIN, **options}
    return build_dataset(str(folder), split, **options)


def test_images_and_classes(folder: Path) -> None:
    data = dataset(folder)
    assert len(data) == 15 and data.class_to_idx == {'class0': 0, 'class1': 1, 'class2': 2}
    assert data.metainfo == {'classes': ('class0', 'class1', 'class2')}
    assert len(list(zip(data, range(99), strict=False))) == 15  # a loop over it ends
    for i in range(len(data)):
        image, target = data[i]
        path = folder / 'val' / f'class{i // 5}' / f'{i % 5}.png'
        expected = Image.open(path).resize((32, 32), Image.Resampling.BILINEAR)
        image = np.asarray(image)  # an array already with older timms
        assert target == i // 5 and image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.asarray(expected).transpose(2, 0, 1))


def test_a_tar_gives_the_same(folder: Path) -> None:
    whole = dataset(folder)
    expected = [whole[i] for i in range(len(whole))]
    with tarfile.open(folder / 'val.tar', 'w') as tar:
        for path in sorted((folder / 'val').rglob('*.png')):
            tar.add(path, arcname=str(path.relative_to(folder / 'val')))
    shutil.rmtree(folder / 'val')
    data = dataset(folder)
    assert data.class_to_idx == whole.class_to_idx and len(data) == len(expected)
    for i in (0, 7, 14):
        np.testing.assert_array_equal(data[i][0], expected[i][0])
        assert data[i][1] == expected[i][1]


def test_a_grey_image_and_one_with_transparency(folder: Path) -> None:
    path = folder / 'val/class0/0.png'
    for mode in ('L', 'RGBA', 'P'):
        Image.new(mode, (40, 40)).save(path)
        assert dataset(folder)[0][0].shape == (3, 32, 32)


def batches(data: object, **options: object) -> list[dict]:
    loader = dict(
        dataset=data,
        batch_size=4,
        num_workers=0,
        sampler=None,
        collate_fn=dict(type='ss_backbones.collate_images'),
        worker_init_fn=dict(type='ss_backbones.start_worker'),
    )
    return list(Runner.build_dataloader({**loader, **options}, seed=0))


def test_webdataset(folder: Path) -> None:
    wds = pytest.importorskip('webdataset')
    for i, c in enumerate(('class0', 'class1')):
        with wds.TarWriter(str(folder / f'shard-{i}.tar')) as writer:
            for path in sorted((folder / 'train' / c).iterdir()):
                writer.write({'__key__': f'{c}{path.stem}', 'png': path.read_bytes(), 'cls': i})
    data = dict(
        type='ss_backbones.build_dataset',
        data_root=str(folder),
        split='shard-{0..1}.tar|16',
        name='wds/x',
        training=True,
        batch_size=4,
        transform=RECIPE,
    )
    assert isinstance(DATASETS.build(data), IterableDataset)
    seen = batches(data, drop_last=True)
    assert len(seen) == 4 and {c for batch in seen for c in batch['data_samples'].tolist()} <= {0, 1}
    assert all(batch['inputs'].shape == (4, 3, 32, 32) and batch['inputs'].dtype == torch.uint8 for batch in seen)


def test_hugging_face(folder: Path) -> None:
    pytest.importorskip('datasets', exc_type=ImportError)  # newer ones want a newer numpy than the oldest promised
    expected = dataset(folder)
    data = dataset(folder / 'cache', 'validation', name=f'hfds/{folder}')
    assert len(data) == len(expected) == 15
    np.testing.assert_array_equal(data[6][0], expected[6][0])
    assert data[6][1] == expected[6][1]


def nest(folder: Path) -> None:
    """Moves the images of a class one folder down, as in Tiny-ImageNet."""
    inner = folder / 'images'
    inner.mkdir()
    for path in folder.glob('*.png'):
        path.rename(inner / path.name)


@pytest.mark.parametrize(
    ('damage', 'text'),
    [
        (lambda f: shutil.rmtree(f), 'is no folder. Give one that holds train/ and val/.*--data-root DIR'),
        (lambda f: shutil.rmtree(f / 'val'), r'has no folder val/ and no val.tar; there is train/'),
        (lambda f: [p.unlink() for p in (f / 'val/class1').iterdir()], 'the class folders class1 hold no image'),
        (lambda f: [shutil.rmtree(p) for p in (f / 'val').iterdir()], 'has no class folders'),
        (
            lambda f: shutil.copy(f / 'val/class0/0.png', f / 'val/odd.png'),
            r'val/odd\.png lies beside the class',
        ),
        (lambda f: shutil.copytree(f / 'val/class0', f / 'val/.cache'), r'val/\.cache holds images and would be taken'),
        (lambda f: nest(f / 'val/class1'), r'val/class1/images holds images below a class folder.*straight into'),
    ],
)
def test_folders_that_are_wrong(folder: Path, damage: object, text: str) -> None:
    damage(folder)
    with pytest.raises(DataError, match=text):
        dataset(folder)


def test_splits_under_other_names_and_in_capitals(folder: Path) -> None:
    (folder / 'val').rename(folder / 'validation')
    assert find_split(str(folder), 'val') == str(folder / 'validation')
    for path in (folder / 'validation/class1').glob('*.png'):
        path.rename(path.with_suffix('.PNG'))
    find_split(str(folder), 'val')
    (folder / 'validation/.empty').mkdir()
    (folder / 'validation/readme.txt').write_text('nothing to see')
    find_split(str(folder), 'val')
    with pytest.raises(DataError, match='has no folder x/ and no x.tar; there is .* Try another.$'):
        find_split(str(folder), 'x', 'Try another.')


@pytest.mark.parametrize('content', [b'', b'no image', None], ids=['empty', 'text', 'truncated'])
def test_a_broken_image_is_named(folder: Path, content: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    broken = folder / 'train/class0/2.png'
    broken.write_bytes(broken.read_bytes()[:900] if content is None else content)
    with pytest.raises(DataError, match=r"class0/2\.png cannot be read: .*on_broken='skip'"):
        dataset(folder, 'train', on_broken='stop')[2]
    messages: list[str] = []
    data = dataset(folder, 'train')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('ss_backbones.classification.dataset.print_log', lambda text, **_: messages.append(text))
        for _ in range(2):
            image, target = data[Draw(2, 5)]
    other, same = data[Draw(3, 5)]
    assert target == same == 0 and (image == other).all()  # the next one in its place
    assert len(messages) == 1 and str(broken) in messages[0] and messages[0].endswith('Skipped.')
    shutil.copy(broken, folder / 'val/class1/0.png')
    assert dataset(folder)[5][1] == LEFT_OUT


def test_when_nothing_can_be_read(folder: Path) -> None:
    for path in (folder / 'train').rglob('*.png'):
        path.write_bytes(b'')
    with pytest.raises(DataError, match='10 images in a row cannot be read, the last: .*disk'):
        dataset(folder, 'train')[0]


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(on_broken='ignore'), "on_broken='ignore' is not possible; take 'skip' or 'stop'"),
        (dict(name='torch/nothing'), "timm cannot read the data set 'torch/nothing'"),
        (dict(name='tfds/mnist'), 'needs a package that is missing'),
    ],
)
def test_arguments_that_are_wrong(folder: Path, options: dict, text: str) -> None:
    with pytest.raises(DataError, match=text):
        dataset(folder, **options)


def draws(count: int, rank: int = 0, world: int = 1, epoch: int = 0, start: int = 0, **options: object) -> list[Draw]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler_module, 'get_dist_info', lambda: (rank, world))
        # mmengine's order asks for itself
        patch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world))
        sampler = EpochSampler(range(count), **{'seed': 7, **options})
    sampler.set_epoch(epoch)
    sampler.start = start
    return list(sampler)


def test_an_epoch_has_every_image_once_in_an_order_of_its_own() -> None:
    first, again, second = draws(50), draws(50), draws(50, epoch=1)
    assert first == again and sorted(d.index for d in first) == list(range(50))
    assert [d.index for d in first] != [d.index for d in second] != list(range(50))
    assert [d.index for d in draws(50, seed=8)] != [d.index for d in first]
    seeds = [d.seed for d in first + second + draws(50, seed=8)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize('options', [{}, dict(repeats=3)], ids=str)
def test_processes_share_an_epoch(options: dict) -> None:
    one = draws(512, epoch=3, **options)
    two = [draws(512, rank, 2, epoch=3, **options) for rank in (0, 1)]
    assert [d for pair in zip(*two, strict=True) for d in pair] == one


def test_an_epoch_is_entered_in_its_middle() -> None:
    assert draws(50, start=20) == draws(50)[20:]
    with pytest.MonkeyPatch.context():
        assert len(EpochSampler(range(50), seed=0)) == 50


def test_repeated_augmentation() -> None:
    drawn = draws(600, repeats=3)
    assert len(drawn) == 600
    indices = [d.index for d in drawn]
    assert indices[0] == indices[1] == indices[2] != indices[3]
    assert len(set(indices)) == 200 and len({d.seed for d in drawn}) == 600
    with pytest.raises(ValueError, match='repeats=0 must be a whole number'):
        EpochSampler(range(5), seed=0, repeats=0)


@pytest.mark.parametrize('workers', [0, 2])
def test_augmentation_depends_on_the_draw_alone(folder: Path, workers: int) -> None:
    data = dataset(folder, 'train', transform=RECIPE)
    order = draws(24)
    expected = np.stack([data[draw][0] for draw in order])
    torch.rand(3), np.random.rand(3)
    seen = np.concatenate([batch['inputs'] for batch in batches(data, sampler=order, num_workers=workers)])
    np.testing.assert_array_equal(seen, expected)
    others = np.stack([data[Draw(d.index, d.seed + 1)][0] for d in order])
    assert (others != expected).reshape(24, -1).any(1).sum() > 20


def test_no_augmentation_asks_for_no_bits(folder: Path) -> None:
    # Pillow 13 raises for 0 bits, which timm's recipe of DeiT asks for once in some hundred images
    for recipe in ('rand-m10-inc1', 'rand-m0', 'augmix-m10', 'v0', 'original'):
        data = dataset(folder, 'train', transform=dict(input_size=32, auto_augment=recipe))
        for seed in range(150):
            assert data[Draw(0, seed)][0].shape == (3, 32, 32)


def test_a_class_that_the_head_has_not(folder: Path) -> None:
    data = dataset(folder)
    data.num_classes = 2
    assert data[9][1] == 1
    with pytest.raises(DataError, match=r'class2/0\.png is of class 2, and the head has 2: 0 to 1'):
        data[10]
