"""ss-backbones make-shapes: masks, boxes, areas and maps agree, overlaps are cut out; equal arguments, equal bytes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('cv2')
pytest.importorskip('pycocotools')

import cv2  # noqa: E402
from pycocotools import mask as coco_mask  # noqa: E402
from pycocotools.coco import COCO  # noqa: E402

from ss_backbones import commands  # noqa: E402
from ss_backbones.commands import shapes as tool  # noqa: E402


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('shapes') / 'set'
    assert run([str(root), '--train', '24', '--val', '6', '--size', '96', '--seed', '3']) == 0
    return root


def run(arguments: Sequence[str]) -> int:
    return commands.run('make-shapes', arguments)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def load(root: Path, split: str) -> COCO:
    return COCO(root / 'annotations' / f'instances_{split}.json')


@pytest.mark.parametrize(('split', 'count'), [('train', 24), ('val', 6)])
def test_images_and_annotations_agree(made: Path, split: str, count: int) -> None:
    coco = load(made, split)
    assert len(coco.imgs) == count == len(list((made / split).iterdir()))
    for image in coco.imgs.values():
        pixels = cv2.imread(str(made / split / image['file_name']))
        assert pixels.shape == (image['height'], image['width'], 3) == (96, 96, 3)
        assert pixels.std() > 5
    assert len(coco.anns) >= 2 * count - 2
    for record in coco.anns.values():
        mask = coco.annToMask(record)
        assert mask.shape == (96, 96)
        ys, xs = np.nonzero(mask)
        assert record['bbox'] == [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
        assert record['bbox'] == list(coco_mask.toBbox(record['segmentation']))
        assert record['area'] == mask.sum() == coco_mask.area(record['segmentation'])
        assert record['iscrowd'] == 0


@pytest.mark.parametrize(('split', 'count'), [('train', 24), ('val', 6)])
def test_label_maps_agree_with_the_instance_masks(made: Path, split: str, count: int) -> None:
    coco = load(made, split)
    names = [image['file_name'] for image in coco.imgs.values()]
    assert sorted(path.name for path in (made / f'{split}_maps').iterdir()) == sorted(names) and len(names) == count
    seen = set()
    for image in coco.imgs.values():
        classes = cv2.imread(str(made / f'{split}_maps' / image['file_name']), cv2.IMREAD_UNCHANGED)
        assert classes.dtype == np.uint8 and classes.shape == (96, 96)  # one channel of one byte
        expected = np.zeros((96, 96), np.uint8)
        for record in coco.loadAnns(coco.getAnnIds(image['id'])):
            expected[coco.annToMask(record) == 1] = record['category_id']
        assert (classes == expected).all()
        seen |= set(np.unique(classes))
    assert seen == {0, 1, 2, 3, 4}


def test_a_label_map_shows_the_top_most_shape() -> None:
    for seed in range(12):
        shapes = tool.draw_scene(np.random.default_rng(seed), 96)[1]
        expected = np.zeros((96, 96), np.uint8)
        for shape in shapes:  # from the bottom one up, each over the whole of its area
            expected[shape.full] = shape.label + 1
        assert (tool.label_map(shapes, 96) == expected).all()


def test_the_images_are_those_of_earlier_versions(made: Path) -> None:
    """The figures that are reported for the demos hold for these images only."""
    pixels = cv2.imread(str(made / 'train' / '000000.png')).astype(float)
    quarters = pixels.reshape(2, 48, 2, 48, 3).mean(axis=(1, 3))
    assert quarters.ravel() == pytest.approx(
        np.array([191.6, 101.0, 63.4, 180.4, 107.6, 46.0, 183.1, 116.7, 75.1, 203.1, 108.5, 44.0]), abs=0.5
    )


def test_the_images_of_the_two_splits_differ(made: Path) -> None:
    held_out = {path.read_bytes() for path in (made / 'val').iterdir()}
    assert held_out.isdisjoint(path.read_bytes() for path in (made / 'train').iterdir())


def test_shapes_overlap_and_share_no_pixel(made: Path) -> None:
    coco = load(made, 'train')
    overlapping_boxes = 0
    for image_id in coco.imgs:
        records = coco.loadAnns(coco.getAnnIds(image_id))
        assert sum(coco.annToMask(record) for record in records).max() == 1
        boxes = np.array([record['bbox'] for record in records])
        overlaps = coco_mask.iou(boxes, boxes, [0] * len(boxes))
        overlapping_boxes += (np.triu(overlaps, 1) > 0.02).sum()
    assert overlapping_boxes >= len(coco.imgs) // 3


def test_a_later_shape_takes_pixels_from_an_earlier_one() -> None:
    scenes = [tool.draw_scene(np.random.default_rng(seed), 96)[1] for seed in range(12)]
    hidden = [(shape.full & ~shape.visible).sum() / shape.full.sum() for shapes in scenes for shape in shapes]
    assert 0 < max(hidden) <= 1 - tool.MIN_VISIBLE
    assert np.mean(np.array(hidden) > 0.05) > 0.1
    for shapes in scenes:
        assert (shapes[-1].full == shapes[-1].visible).all()  # nothing lies above the last
        for below, above in zip(shapes, shapes[1:], strict=False):
            assert not (below.visible & above.full).any()


def test_the_mask_lies_where_the_shape_was_drawn(made: Path) -> None:
    """A shape's inside is nearly of one colour, so its pixels vary less than its surroundings do."""
    coco = load(made, 'train')
    inside, around = [], []
    for record in coco.anns.values():
        pixels = cv2.imread(str(made / 'train' / coco.imgs[record['image_id']]['file_name'])).astype(float)
        mask = coco.annToMask(record)
        core = cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)
        ring = (cv2.dilate(mask, np.ones((5, 5), np.uint8)) - mask).astype(bool)
        inside.append(np.linalg.norm(pixels[core] - pixels[core].mean(axis=0), axis=1).mean())
        around.append(np.linalg.norm(pixels[ring] - pixels[core].mean(axis=0), axis=1).mean())
    assert np.mean(np.array(around) > 2 * np.array(inside)) > 0.9


def test_every_class_appears_and_looks_its_part(made: Path) -> None:
    coco = load(made, 'train')
    assert [category['name'] for category in coco.cats.values()] == list(tool.CLASSES)
    assert {record['category_id'] for record in coco.anns.values()} == set(coco.cats)
    rng = np.random.default_rng(0)
    of_circle: dict[str, list[float]] = {name: [] for name in tool.CLASSES}
    of_hull: dict[str, list[float]] = {name: [] for name in tool.CLASSES}
    for shape in (shape for _ in range(60) for shape in tool.draw_scene(rng, 128)[1]):
        points = np.argwhere(shape.full).astype(np.float32)
        of_circle[tool.CLASSES[shape.label]].append(len(points) / (np.pi * cv2.minEnclosingCircle(points)[1] ** 2))
        of_hull[tool.CLASSES[shape.label]].append(len(points) / cv2.contourArea(cv2.convexHull(points)))
        centre = tuple(np.round(points.mean(axis=0)).astype(int))
        assert shape.full[centre] == (tool.CLASSES[shape.label] != 'ring')
    for name, circle, hull in [
        ('square', 2 / np.pi, 1),
        ('triangle', 0.75 * np.sqrt(3) / np.pi, 1),
        ('cross', 2 / np.pi, 5 / 7),
        ('ring', 0.75, 0.75),
    ]:
        assert np.mean(of_circle[name]) == pytest.approx(circle, abs=0.06), name
        assert np.mean(of_hull[name]) == pytest.approx(hull, abs=0.1), name


def test_the_seed_decides_every_byte(made: Path, tmp_path: Path) -> None:
    options = ['--train', '24', '--val', '6', '--size', '96']
    assert run([str(tmp_path / 'same'), *options, '--seed', '3']) == 0
    assert run([str(tmp_path / 'other'), *options, '--seed', '4']) == 0
    assert contents(tmp_path / 'same') == contents(made)
    assert contents(tmp_path / 'other')['train/000000.png'] != contents(made)['train/000000.png']


def test_an_image_does_not_depend_on_how_many_there_are(made: Path, tmp_path: Path) -> None:
    assert run([str(tmp_path / 'few'), '--train', '2', '--val', '2', '--size', '96', '--seed', '3']) == 0
    few, many = contents(tmp_path / 'few'), contents(made)
    assert all(few[name] == many[name] for name in few if name.endswith('.png'))


def test_a_finished_set_is_left_alone(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob('*')}
    assert run([str(made), '--train', '24', '--val', '6', '--size', '96', '--seed', '3']) == 0
    assert 'nothing to do' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in made.rglob('*')} == before


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(arguments) == 2
    return capsys.readouterr().err


def test_other_parameters_are_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(made)
    text = refusal(capsys, str(made), '--train', '24', '--val', '6', '--size', '96', '--seed', '5')
    assert '--seed 5' in text and '--seed 3' in text and 'Give another folder' in text
    assert contents(made) == before


def test_a_folder_with_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'notes.txt').write_text('mine')
    assert 'not empty' in refusal(capsys, str(tmp_path), '--train', '1', '--val', '1')
    assert contents(tmp_path) == {'notes.txt': b'mine'}
    assert 'is a file' in refusal(capsys, str(tmp_path / 'notes.txt'))


@pytest.mark.parametrize('lost', ['train/000001.png', 'val_maps/000000.png', 'annotations/instances_val.json'])
def test_a_damaged_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str) -> None:
    arguments = (str(tmp_path / 'set'), '--train', '2', '--val', '1', '--size', '64')
    assert run(arguments) == 0
    (tmp_path / 'set' / lost).unlink()
    assert lost in refusal(capsys, *arguments)


def test_a_set_of_an_earlier_version_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (str(tmp_path / 'set'), '--train', '2', '--val', '1', '--size', '64')
    assert run(arguments) == 0
    record = tmp_path / 'set' / tool.PARAMETERS_FILE
    record.write_text(json.dumps({**json.loads(record.read_text()), 'version': 1}))
    before = contents(tmp_path)
    text = refusal(capsys, *arguments)
    assert f'format 1, now {tool.FORMAT_VERSION}' in text and 'delete this one' in text
    assert contents(tmp_path) == before


def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool.cv2, 'imwrite', lambda *_: False)
    assert 'could not be written' in refusal(capsys, str(tmp_path / 'set'), '--train', '2')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('option', 'value'), [('--train', '-1'), ('--val', '0'), ('--size', '16'), ('--seed', '-2')])
def test_a_wrong_number_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    text = refusal(capsys, str(tmp_path / 'set'), option, value)
    assert option in text and f'not {value}' in text
    assert not (tmp_path / 'set').exists()


def test_the_later_of_two_at_once_finds_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process is done after this one has looked."""
    arguments = [str(tmp_path / 'set'), '--train', '2', '--val', '1', '--size', '64']
    write_split, others = tool.write_split, []

    def meanwhile(*given: object) -> None:
        if not others:
            others.append(True)
            with monkeypatch.context() as patch:
                patch.setattr(tool.os, 'getpid', lambda: 1)  # or both would draw in one place
                assert run(arguments) == 0
        write_split(*given)

    monkeypatch.setattr(tool, 'write_split', meanwhile)
    assert run(arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['set']
