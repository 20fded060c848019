"""Every fault of data is found before a training, and named with its file where it is read."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import cv2  # noqa: E402
import mmdet.datasets  # noqa: E402, F401
import numpy as np  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import DATASETS, init_default_scope  # noqa: E402
from mmseg.datasets import BaseSegDataset  # noqa: E402
from PIL import Image  # noqa: E402
from tiny_data import write_coco  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from ss_backbones.data_faults import BadDataError, Seen, guards_of, look_at, reading_of  # noqa: E402
from ss_backbones.data_faults.guarding import CheckImage  # noqa: E402
from ss_backbones.errors import UsageError  # noqa: E402
from ss_backbones.training import Runner  # noqa: E402
from ss_backbones.training.data_check import DataCheck  # noqa: E402
from ss_backbones.training.hooks import BadDataHook  # noqa: E402

CLASSES = ('cat', 'dog')
SHARED = Path(__file__).resolve().parents[2] / '../shared/data'


def detection(folder: Path, images: int = 3, **options: Any) -> dict:
    """Of 64 x 48 pixels; each has one object."""
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='Resize', scale=(64, 64), keep_ratio=True),
        dict(type='PackDetInputs'),
    ]
    place = write_coco(folder, CLASSES, images)
    metainfo = dict(classes=CLASSES)
    return dict(type='CocoDataset', _scope_='mmdet', metainfo=metainfo, pipeline=steps, **place, **options)


def segmentation(folder: Path, images: int = 3, **options: Any) -> dict:
    """Of 64 x 48 pixels; labels 0, 1 and 255 in label maps of 8 bits."""
    for i in range(1, images + 1):
        write_map(folder, i, np.random.default_rng(i).choice(np.array([0, 1, 255], np.uint8), (48, 64)))
        (folder / 'images').mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'images/{i}.jpg'), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    prefix = dict(img_path='images', seg_map_path='maps')
    metainfo = dict(classes=CLASSES)
    return dict(
        type='BaseSegDataset',
        _scope_='mmseg',
        data_root=str(folder),
        data_prefix=prefix,
        metainfo=metainfo,
        pipeline=steps,
        **options,
    )


def write_map(folder: Path, number: int, labels: np.ndarray) -> None:
    (folder / 'maps').mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / f'maps/{number}.png'), labels)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b'')


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / 'annotations.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def annotation(**values: Any) -> Callable[[Path], None]:
    """Changes the second annotation; None takes a value away."""

    def change(content: dict) -> None:
        content['annotations'][1].update(values)
        for key in [key for key, value in values.items() if value is None]:
            del content['annotations'][1][key]

    return lambda folder: edit(folder, change)


def whole(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda folder: edit(folder, change)


def thin(folder: Path) -> None:
    cv2.imwrite(str(folder / 'images/2.png'), np.zeros((3, 4000, 3), np.uint8))
    edit(folder, lambda content: content['images'][1].update(width=4000, height=3))
    edit(folder, lambda content: content['annotations'][1].update(bbox=[1, 0, 30, 3]))


def of_16_bits(folder: Path) -> None:
    labels = np.zeros((48, 64), np.uint16)
    labels[3, 4] = 300
    write_map(folder, 2, labels)


def too_high(folder: Path) -> None:
    write_map(folder, 2, np.full((48, 64), 2, np.uint8))


@dataclass(frozen=True)
class Case:
    """A fault: what makes it, in what data, and what must be said before building or before a training."""

    make: Callable[[Path], object]
    said: str
    name: str
    data: Callable[..., dict] = detection
    builds: bool = True  # whether the data set can be built with it

    def __str__(self) -> str:
        return self.name


CASES = [
    Case(lambda f: empty(f / 'images/2.png'), 'images/2.png: is an empty file (0 bytes)', 'empty image'),
    Case(lambda f: cut(f / 'images/2.png'), 'images/2.png: is cut off', 'cut png'),
    Case(lambda f: (f / 'images/2.png').unlink(), 'images/2.png: does not exist', 'image not there'),
    Case(
        lambda f: (f / 'images/2.png').write_text('hello'),
        'images/2.png: cannot be read as an image',
        'text for an image',
    ),
    Case(
        whole(lambda c: c['images'][1].update(width=48, height=64)),
        'images/2.png: has 64 x 48 pixels, its annotations say 48 x 64',
        'other size',
    ),
    Case(thin, 'images/2.png: has 4000 x 3 pixels, of which nothing is left when it is resized to 64 x 64', 'thin'),
    Case(annotation(segmentation=None), 'images/2.png, annotation 0: has no mask', 'no mask'),
    Case(
        annotation(segmentation={'size': [10, 10], 'counts': [0, 100]}),
        'images/2.png, annotation 0: has a mask whose size (height, width) is [10, 10], and the image [48, 64]',
        'other mask',
    ),
    Case(
        annotation(bbox=[1, 2, 3]), 'annotation 2 of 2.png: bbox is [1, 2, 3], expected four', 'box of 3', builds=False
    ),
    Case(
        annotation(bbox=[1, 2, 3, 'x']), "annotation 2 of 2.png: bbox is [1, 2, 3, 'x']", 'box of words', builds=False
    ),
    Case(annotation(bbox=None), 'annotation 2 of 2.png: bbox is None', 'no box', builds=False),
    Case(annotation(area=None), 'annotation 2 of 2.png: area is None', 'no area', builds=False),
    Case(annotation(category_id=7), 'annotation 2 of 2.png: category_id is 7, which no', 'no category', builds=False),
    Case(
        annotation(id=1), '1 ids of annotations stand there more than once, such as 1', 'annotation twice', builds=False
    ),
    Case(
        whole(lambda c: c['images'][1].update(id=1)),
        '1 ids of images stand there more than once',
        'image twice',
        builds=False,
    ),
    Case(whole(lambda c: c['images'][1].pop('height')), 'image 2.png: height is None', 'no height', builds=False),
    Case(
        whole(lambda c: [a.update(image_id=str(a['image_id'])) for a in c['annotations']]),
        "no annotation belongs to an image: image_id is '1'",
        'ids of words',
        builds=False,
    ),
    Case(
        whole(lambda c: c['categories'].pop()),
        "has no category 'dog' of the 2 classes; it has 'cat'",
        'class_without',
        builds=False,
    ),
    Case(
        whole(lambda c: c['categories'].reverse()),
        'has its categories in another order than the classes',
        'other order',
        builds=False,
    ),
    Case(whole(lambda c: c.update(images={})), 'images is no list of dicts', 'no list', builds=False),
    Case(lambda f: cut(f / 'images/2.jpg'), 'images/2.jpg: is cut off', 'cut jpeg', segmentation),
    Case(lambda f: cut(f / 'maps/2.png'), 'maps/2.png: is cut off', 'cut map', segmentation),
    Case(lambda f: empty(f / 'maps/2.png'), 'maps/2.png: is an empty file', 'empty map', segmentation),
    Case(lambda f: (f / 'maps/2.png').unlink(), 'maps/2.png: does not exist', 'map not there', segmentation),
    Case(
        lambda f: write_map(f, 2, np.zeros((96, 128), np.uint8)),
        'maps/2.png: has 128 x 96 pixels, its image 64 x 48',
        'larger map',
        segmentation,
    ),
    Case(
        lambda f: write_map(f, 2, np.zeros((24, 32), np.uint8)),
        'maps/2.png: has 32 x 24 pixels, its image 64 x 48',
        'smaller map',
        segmentation,
    ),
    Case(
        lambda f: write_map(f, 2, np.zeros((48, 64, 3), np.uint8)),
        'maps/2.png: has colours',
        'map in RGB',
        segmentation,
    ),
    Case(of_16_bits, 'maps/2.png: has the label 300, which would be read as 44', '16 bits', segmentation),
    Case(
        too_high,
        'maps/2.png: has labels that no class has (2); there are classes 0 to 1, and 255 is ignored',
        'label above',
        segmentation,
    ),
]


def data_check(folder: Path, say: Callable[[str], None] = print, **config: Any) -> DataCheck:
    return DataCheck.of(config, str(folder), say, say)


def build(config: Mapping[str, Any]) -> Any:
    init_default_scope('mmengine')
    return DATASETS.build(dict(config))


def look(config: Mapping[str, Any], check: DataCheck) -> Any:
    """Before a training."""
    init_default_scope('mmengine')
    check.before_building(config, 'the training data')
    dataset = build(config)
    check.after_building(dataset, 'the training data', None, True)
    return dataset


@pytest.mark.parametrize('case', CASES, ids=str)
def test_a_fault_is_found_before_a_training_and_where_it_is_read(case: Case, tmp_path: Path):
    config = case.data(tmp_path / 'set')
    dataset = look(config, data_check(tmp_path))  # nothing is wrong yet
    assert all(dataset[i]['inputs'].shape[0] == 3 for i in range(3))
    case.make(tmp_path / 'set')
    with pytest.raises(BadDataError) as error:
        look(config, data_check(tmp_path))
    assert case.said in str(error.value) and str(error.value).startswith('the training data: ')
    if not case.builds:
        return
    guarded = build(config)
    data_check(tmp_path).after_building(guarded, '', None, False)
    with pytest.raises(BadDataError) as error:
        guarded[1]
    assert case.said in str(error.value), str(error.value)
    assert guarded[0] is not None and guarded[2] is not None


def test_data_of_another_kind_than_the_config_needs_pass(tmp_path: Path):
    """Masks where none are trained on; images on their side; labels that are turned into others."""
    boxes = detection(tmp_path / 'boxes')
    annotation(segmentation=None)(tmp_path / 'boxes')
    boxes['pipeline'][1]['with_mask'] = False
    look(boxes, data_check(tmp_path))

    turned = detection(tmp_path / 'turned')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((64, 48, 3), np.uint8)).save(tmp_path / 'turned/images/2.jpg', exif=exif)
    edit(tmp_path / 'turned', lambda content: content['images'][1].update(file_name='2.jpg'))
    assert len(look(turned, data_check(tmp_path))[1]['inputs']) == 3
    turned['pipeline'][0]['color_type'] = 'color_ignore_orientation'
    with pytest.raises(BadDataError, match=r'has 48 x 64 pixels, its annotations say 64 x 48'):
        look(turned, data_check(tmp_path))

    reduced = segmentation(tmp_path / 'reduced', reduce_zero_label=True)
    write_map(tmp_path / 'reduced', 2, np.tile(np.array([0, 1, 2, 255], np.uint8), (48, 16)))
    look(reduced, data_check(tmp_path))[1]
    write_map(tmp_path / 'reduced', 2, np.tile(np.array([0, 1, 2, 3], np.uint8), (48, 16)))
    with pytest.raises(BadDataError, match=r'no class has \(2 after reduce_zero_label\)'):
        look(reduced, data_check(tmp_path))
    small_numbers = segmentation(tmp_path / 'numbers')
    write_map(tmp_path / 'numbers', 2, np.ones((48, 64), np.uint16))
    look(small_numbers, data_check(tmp_path))[1]


def test_many_faults_are_summed_up(tmp_path: Path):
    config = segmentation(tmp_path, images=14)
    for i in range(3, 15):
        too_high(tmp_path) if i == 2 else write_map(tmp_path, i, np.full((48, 64), 9, np.uint8))
    cut(tmp_path / 'images/1.jpg')
    with pytest.raises(BadDataError) as error:
        look(config, data_check(tmp_path))
    lines = str(error.value).splitlines()
    assert lines[0] == 'the training data: 13 faults' and lines[11] == '  and 3 more'
    assert sum(line.startswith('Correct the map') for line in lines) == 1
    assert '--on-bad-data skip' in lines[-1]


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('wrapper', [None, 'RepeatDataset', 'ConcatDataset'])
def test_images_are_left_out_by_choice(
    workers: int, wrapper: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    config = detection(tmp_path / 'set', images=4)
    cut(tmp_path / 'set/images/2.png')
    annotation(segmentation=None)(tmp_path / 'set')  # of the same one
    empty(tmp_path / 'set/images/3.png')
    wrapped = {'RepeatDataset': dict(times=2, dataset=config), 'ConcatDataset': dict(datasets=[config, config])}
    said: list[str] = []
    dataset = build(config if wrapper is None else dict(type=wrapper, **wrapped[wrapper]))
    data_check(tmp_path, said.append, on_bad_data='skip').after_building(dataset, 'the training data', None, True)
    assert '2 faults' in said[0] and 'are left out' in said[0]
    loader = DataLoader(dataset, num_workers=workers, collate_fn=list)
    for _ in range(2):
        batches = [sample['data_samples'].img_id for batch in loader for sample in batch]
        assert set(batches) == {1, 4} and len(batches) == len(dataset)
    guards = guards_of(dataset)
    assert [guard.left_out.tolist() for guard in guards] == [[0, 1, 1, 0]] * len(guards)
    text = capfd.readouterr()
    warned = (text.out + text.err).count('It is left out.')
    assert warned == 2 if workers == 0 else 2 <= warned <= 4  # one of each, however many sets and epochs there are


def test_an_error_of_a_worker_is_as_short_as_any(tmp_path: Path):
    config = segmentation(tmp_path)
    too_high(tmp_path)
    dataset = build(config)
    data_check(tmp_path).after_building(dataset, '', None, False)
    with pytest.raises(BadDataError) as error:
        list(DataLoader(dataset, num_workers=1, collate_fn=list))
    assert str(error.value).startswith(str(tmp_path / 'maps/2.png: has labels')), str(error.value)


def test_nothing_is_left_out_of_a_test(tmp_path: Path):
    config = segmentation(tmp_path, test_mode=True)
    too_high(tmp_path)
    with pytest.raises(BadDataError, match='has labels that no class has'):
        look(config, data_check(tmp_path, on_bad_data='skip'))
    dataset = build(config)
    data_check(tmp_path, on_bad_data='skip').after_building(dataset, '', None, False)
    with pytest.raises(BadDataError, match='has labels that no class has'):
        dataset[1]


def test_an_image_that_a_decoder_fills_with_grey(tmp_path: Path):
    """OpenCV 4 does so where the end of a JPEG is missing; OpenCV 5 does not read it."""
    segmentation(tmp_path, images=1)
    results = {'img_path': str(tmp_path / 'images/1.jpg'), 'ori_shape': (48, 64)}
    assert CheckImage()(results) is results
    cut(tmp_path / 'images/1.jpg')
    with pytest.raises(BadDataError, match='1.jpg: is cut off'):
        CheckImage()(results)


def test_a_data_set_of_which_nothing_can_be_used(tmp_path: Path):
    config = segmentation(tmp_path)
    for i in (1, 2, 3):
        empty(tmp_path / f'images/{i}.jpg')
    dataset = build(config)
    data_check(tmp_path, on_bad_data='skip').after_building(dataset, '', None, False)
    with pytest.raises(BadDataError, match='11 images in a row cannot be used, the last one: .* is an empty file'):
        dataset[0]


class Broken:
    """A step of somebody's own."""

    def __call__(self, results: dict) -> dict:
        raise ZeroDivisionError('by nothing')


def test_a_step_that_fails_for_another_reason_keeps_its_traceback(tmp_path: Path):
    dataset = build(detection(tmp_path))
    dataset.pipeline.transforms.append(Broken())
    data_check(tmp_path).after_building(dataset, '', None, True)
    with pytest.raises(RuntimeError, match=r'images/2.png: ZeroDivisionError in the pipeline: by nothing') as error:
        dataset[1]
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_another_pipeline_is_guarded_too(tmp_path: Path):
    """mmdet's PipelineSwitchHook sets one for the last epochs."""
    dataset = build(segmentation(tmp_path))
    data_check(tmp_path).after_building(dataset, '', None, False)
    assert dataset[1] is not None
    dataset.pipeline = build(segmentation(tmp_path)).pipeline
    too_high(tmp_path)
    with pytest.raises(BadDataError, match='has labels that no class has'):
        dataset[1]


def test_what_is_right_is_not_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = segmentation(tmp_path / 'set')
    looked: list[str] = []
    from ss_backbones.data_faults import looking

    real = looking.sample_faults
    monkeypatch.setattr(
        looking, 'sample_faults', lambda info, reading: looked.append(info['img_path'][-5:]) or real(info, reading)
    )
    check = data_check(tmp_path, data_check=dict(cache=str(tmp_path / 'cache')))
    look(config, check)
    assert sorted(looked) == ['1.jpg', '2.jpg', '3.jpg'] and os.listdir(tmp_path / 'cache') == ['.data_check.npy']
    looked.clear()
    look(config, check)
    assert looked == []
    too_high(tmp_path / 'set')
    for _ in range(2):  # what is wrong is looked at until it is right
        with pytest.raises(BadDataError):
            look(config, check)
        assert looked == ['2.jpg']
        looked.clear()
    config['metainfo'] = dict(classes=(*CLASSES, 'cow'))  # then it is right
    look(config, check)
    assert sorted(looked) == ['1.jpg', '2.jpg', '3.jpg']


def test_somebody_elses_file_is_left_as_it_is(tmp_path: Path):
    mine = tmp_path / '.data_check.npy'
    mine.write_text('mine')
    look(segmentation(tmp_path / 'set'), data_check(tmp_path))
    assert mine.read_text() == 'mine'
    Seen(tmp_path / 'nowhere' / 'a' / 'b').save()
    assert not (tmp_path / 'nowhere').exists()


def test_a_look_ends_in_time_and_goes_on_at_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ss_backbones.data_faults import looking

    monkeypatch.setattr(looking, '_CHUNK', 2)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(looking.time, 'monotonic', lambda: next(clock))
    said: list[str] = []
    dataset = build(segmentation(tmp_path / 'set', images=8))
    reading, file = reading_of(dataset), tmp_path / 'seen.npy'
    first = look_at(dataset, reading, Seen(file), seconds=30, say=said.append, what='the data')
    assert (first.seen, first.total, first.faults) == (4, 8, [])
    assert (
        said
        == [
            'Looking at the data: 0 of 8 images so far, 0 of them with faults.',
            'Looking at the data: 2 of 8 images so far, 0 of them with faults.',
        ][: len(said)]
        and said
    )
    assert len(np.load(file)) == 4
    look_at(dataset, reading, Seen(file), seconds=1000, say=said.append, what='the data')
    assert len(np.load(file)) == 8


@pytest.mark.parametrize(
    ('config', 'said'),
    [
        (dict(on_bad_data='ignore'), "on_bad_data='ignore' is not possible; take 'stop' or 'skip'"),
        (dict(data_check=dict(second=3)), "data_check has no 'second'; it has seconds and cache"),
        (dict(data_check=dict(seconds=-1)), 'data_check.seconds=-1'),
        (dict(data_check=dict(seconds='all')), "data_check.seconds='all'"),
    ],
)
def test_settings_that_cannot_be(config: dict, said: str, tmp_path: Path):
    with pytest.raises(UsageError, match=said):
        data_check(tmp_path, **config)


def test_no_look_at_all(tmp_path: Path):
    config = segmentation(tmp_path)
    too_high(tmp_path)
    look(config, data_check(tmp_path, data_check=dict(seconds=0)))


@pytest.mark.skipif(not SHARED.is_dir(), reason='the data are not part of the package')
@pytest.mark.parametrize('part', ['train', 'val'])
def test_nothing_is_wrong_with_real_data(part: str, tmp_path: Path):
    coco = detection(tmp_path / 'set') | dict(
        data_root=str(SHARED / 'coco_mini'),
        ann_file=f'annotations/instances_{part}2017.json',
        data_prefix=dict(img=f'{part}2017'),
        metainfo=None,
    )
    camvid = segmentation(tmp_path / 'maps') | dict(
        data_root=str(SHARED / 'camvid'),
        data_prefix=dict(img_path=f'images/{part}', seg_map_path=f'annotations/{part}'),
        metainfo=dict(classes=tuple('abcdefghijkl')),  # the last one is for what has no class
    )
    for config in (coco, camvid):
        said: list[str] = []
        dataset = look(config, data_check(tmp_path, said.append))
        assert said == [] and len(dataset) > 40
        assert dataset[0] is not None


def test_how_many_were_left_out_is_said_at_the_end(tmp_path: Path):
    dataset = build(detection(tmp_path / 'set', images=4))
    data_check(tmp_path, on_bad_data='skip').after_building(dataset, '', None, False)
    said: list[str] = []
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=dataset), logger=SimpleNamespace(warning=said.append)
    )
    hook = BadDataHook()
    hook.after_train(runner)
    assert said == []
    empty(tmp_path / 'set/images/2.png')
    assert dataset[1] is not None and dataset[1] is not None
    hook.after_train(runner)
    assert said == ['1 of the 4 training images could not be used and were left out; each is named above.']


class Nothing(BaseModel):
    def forward(self, inputs: object) -> dict:
        return {}


def test_the_runner_looks_before_it_trains(tmp_path: Path):
    config = segmentation(tmp_path / 'set')

    def runner(name: str, **options: Any) -> Runner:
        loader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler'), dataset=config)
        return Runner(
            model=Nothing(),
            work_dir=str(tmp_path / name),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=False, max_iters=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            experiment_name=f'{tmp_path.name}-{name}',
            cfg=Config(options),
            default_scope='mmengine',
            log_level='ERROR',
        )

    run = runner('right')
    loader = run.train_dataloader
    assert len(guards_of(loader.dataset)) == 1 and (tmp_path / 'right/.data_check.npy').exists()
    too_high(tmp_path / 'set')
    with pytest.raises(BadDataError, match=r'^the training data: .*has labels that no class has'):
        runner('wrong').train()
    [guard] = guards_of(runner('skips', on_bad_data='skip').train_dataloader.dataset)
    assert guard.skip


class ReadsInAWayOfItsOwn(BaseSegDataset):
    """As mmdet's data sets of videos."""

    def prepare_data(self, index: object) -> str:
        return 'read'


def test_data_sets_that_read_in_a_way_of_their_own_are_left_alone(tmp_path: Path):
    init_default_scope('mmseg')
    dataset = ReadsInAWayOfItsOwn(**{k: v for k, v in segmentation(tmp_path).items() if k not in ('type', '_scope_')})
    data_check(tmp_path).after_building(dataset, '', None, True)
    assert guards_of(dataset) == [] and dataset[0] == 'read'
