"""ss-backbones picture, as a user calls it."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DEMO_SEG_CONFIG = ROOT / 'configs/demo/upernet_ss-pvtv2-b0_shapes.py'
SIDE, GAP, LINE = 320, 6, 24  # pixels of a panel, between panels, and of a line of words


def test_picture_shows_truth_beside_prediction(call, shapes: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / 'new' / 'picture.png'
    code, said = call('picture', *shapes, out, '--num', 2, '--score-thr', 1)
    assert (
        code == 0 and f'{out}: 2 images, truth beside prediction; on all 3 images of the test set: box AP50 0.0' in said
    )
    assert 'mask AP50' in said and 'Done (t=' not in said
    picture = np.asarray(Image.open(out).convert('RGB')).astype(int)
    assert picture.shape[1] == 4 * (SIDE + GAP) + GAP  # two images in a row, each with its truth and its prediction
    square = Config.fromfile(shapes[0]).metainfo['palette'][0]
    truth, prediction = (picture[LINE : LINE + 240, left : left + SIDE] for left in (GAP, 2 * GAP + SIDE))
    # the rectangle of 34 x 30 pixels at (5, 3), white, in an image enlarged by 5 and covered to 60%
    inside = truth[3 * 5 + 30 : 33 * 5 - 10, 5 * 5 + 10 : 39 * 5 - 10]
    assert np.abs(inside - (0.4 * 255 + 0.6 * np.array(square))).max() < 12
    outline = np.abs(truth - square).max(axis=2) < 25
    assert outline[20:160, 24:28].any(axis=1).mean() > 0.95 and not outline[20:160, 35:190].any()
    assert (prediction[100:110, 100:110] > 240).all()  # white, as nothing has a score of 1
    words_below = picture[-LINE:].reshape(-1, 3)
    assert (words_below < 100).all(axis=1).sum() > 100


def test_what_stands_below_is_what_the_library_measures(call, maps: tuple[Path, Path], tmp_path: Path) -> None:
    code, said = call('picture', *maps, tmp_path / 'a.png')
    assert code == 0
    intersections, unions = np.zeros(5), np.zeros(5)
    for name in ('000000.png', '000001.png'):
        truth = cv2.imread(str(maps[0].parent / 'data/val_maps' / name), cv2.IMREAD_UNCHANGED)
        for label in range(5):
            found = np.full(truth.shape, label == 4)  # rings everywhere
            intersections[label] += (found & (truth == label)).sum()
            unions[label] += (found | (truth == label)).sum()
    expected = np.mean(intersections[unions > 0] / unions[unions > 0])
    assert f'on all 2 images of the test set: mIoU {expected:.3f}' in said


def test_picture_without_evaluation(call, shapes: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = shapes
    options = ('--num', 1, '--evaluate-up-to')
    code, said = call('picture', config, checkpoint, tmp_path / 'a.png', *options, 2)
    assert code == 0 and 'not evaluated, as its 3 images are more than 2' in said
    with_words = tmp_path / 'b.png'
    assert call('picture', config, checkpoint, with_words, *options, 3)[0] == 0
    assert Image.open(with_words).height == Image.open(tmp_path / 'a.png').height + LINE
    lost = tmp_path / 'lost.py'
    lost.write_text(f'_base_ = {str(config)!r}\ntest_evaluator = dict(ann_file="nowhere.json")\n')
    code, said = call('picture', lost, checkpoint, tmp_path / 'c.png', *options, 3)
    assert code == 0 and 'not evaluated: nowhere.json, of test_evaluator.ann_file, does not exist' in said


def test_picture_of_maps(call, maps: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / 'picture.png'
    code, said = call('picture', *maps, out, '--evaluate-up-to', 0)
    assert code == 0 and f'{out}: 2 images' in said
    picture = np.asarray(Image.open(out).convert('RGB')).astype(float)
    metainfo = Config.fromfile(DEMO_SEG_CONFIG).metainfo
    palette = np.array(metainfo['palette'])
    ring = metainfo['classes'].index('ring')
    seen = {ring}
    for column, name in enumerate(('000000.png', '000001.png')):
        truth = cv2.imread(str(maps[0].parent / 'data/val_maps' / name), cv2.IMREAD_UNCHANGED)
        image = cv2.imread(str(maps[0].parent / 'data/val' / name))[..., ::-1]
        seen |= set(np.unique(truth).tolist())
        for place, classes in ((2 * column, truth), (2 * column + 1, np.full_like(truth, ring))):
            left = GAP + place * (SIDE + GAP)
            panel = picture[LINE : LINE + SIDE, left : left + SIDE]
            small = cv2.resize(panel, (60, 60), interpolation=cv2.INTER_AREA)
            expected = 0.4 * image + 0.6 * palette[classes]
            assert np.abs(small - expected).mean() < 6, (name, place)
    legend = picture[LINE + SIDE :].reshape(-1, 3)
    found = {i for i, colour in enumerate(palette) if (np.abs(legend - colour).max(axis=1) < 30).sum() > 50}
    assert found == seen


def test_picture_refuses_what_does_not_belong_together(
    call, shapes: tuple[Path, Path], maps: tuple[Path, Path], tmp_path: Path
) -> None:
    def config(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    base = f'_base_ = {str(maps[0])!r}\n'
    wide = config('wide.py', base + 'model = dict(decode_head=dict(channels=48))\n')
    other = config('other.py', base + "default_scope = 'mmpretrain'\n")
    nothing = config('nothing.py', 'model = dict()\n')
    unlabelled = config(
        'unlabelled.py',
        base + "test_dataloader = dict(dataset=dict(data_prefix=dict(_delete_=True, img_path='val/')))\n",
    )
    lost = config('lost.py', base + "test_dataloader = dict(dataset=dict(data_root='nowhere/'))\n")
    for arguments, text in (
        ((maps[0], shapes[1]), 'holds the weights of another model'),
        ((shapes[0], maps[1]), 'holds the weights of another model'),
        ((wide, maps[1]), 'holds the weights of another model'),
        ((other, maps[1]), "sets default_scope = 'mmpretrain'; expected 'mmdet' or 'mmseg'"),
        ((nothing, maps[1]), 'It says what library the config is for'),
        ((unlabelled, maps[1]), 'has no label maps'),
        ((lost, maps[1]), 'nowhere/val'),
    ):
        code, said = call('picture', *arguments, tmp_path / 'a.png')
        assert code == 2 and text in said, said
        assert len(said.splitlines()[-1]) < 400
    assert not (tmp_path / 'a.png').exists()


def test_picture_refuses(call, shapes: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = shapes
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:5000])
    for arguments, text in (
        ((tmp_path / 'no.py', checkpoint, 'a.png'), 'there is no config file'),
        ((config, tmp_path / 'no.pth', 'a.png'), 'no.pth does not exist'),
        ((config, tmp_path, 'a.png'), 'is a directory'),
        ((config, tmp_path / 'cut.pth', 'a.png'), 'cut.pth cannot be read as a checkpoint'),
        ((config, checkpoint, 'a.jpg'), 'does not end in .png'),
        ((config, checkpoint, 'a.png', '--num', 0), 'at least 1, not 0'),
        ((config, checkpoint, 'a.png', '--score-thr', 1.5), 'from 0 to 1, not 1.5'),
        ((config, checkpoint, 'a.png', '--device', 'cuda:99'), '--device cuda:99: there is no such device here'),
    ):
        code, said = call('picture', *arguments)
        assert code == 2 and text in said, said
