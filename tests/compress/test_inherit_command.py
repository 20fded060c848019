"""The command from weights and images to a file that loads, and all that can be wrong with what it is given."""

import re
import weakref
from pathlib import Path

import pytest
import timm
import torch
from installed import needs_mmdet
from PIL import Image
from small_networks import noisy
from tiny_data import write_coco
from tiny_images import write_classes
from tool_call import call_command
from torch import Tensor

import ss_backbones
from ss_backbones.checkpoints.activations import activations_in
from ss_backbones.checkpoints.files import read_checkpoint
from ss_backbones.layers.mlp import activations_of

ROOT = Path(__file__).resolve().parents[2]
NAME, SIDE = 'ss_vit_tiny_patch16_224', 64
SIZE = ('--img-size', SIDE, SIDE)
CLASSES = 3


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and the weights of a plain network with as many classes as they have."""
    folder = tmp_path_factory.mktemp('inherit')
    write_classes(folder, classes=CLASSES, train=8)
    torch.manual_seed(0)
    torch.save(plain().state_dict(), folder / 'plain.pth')
    return folder


def plain(**options: object) -> torch.nn.Module:
    options = {'settings': 'uniform', 'num_classes': CLASSES, 'img_size': SIDE, **options}
    return noisy(timm.create_model(NAME, **options)).eval()


def inherit(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    return call_command('inherit', arguments, capsys)


def some_images() -> Tensor:
    return torch.randn(4, 3, SIDE, SIDE)


@torch.no_grad()
def test_from_plain_weights_to_a_network_that_is_near(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'ss.pth'
    code, said = inherit(capsys, folder / 'plain.pth', NAME, out, '--images', folder / 'train', *SIZE, '--count', 16)
    assert code == 0, said
    assert len(re.findall(r'^blocks\.\d+: 0\.\d{4} left over; about \d+ s to go$', said, re.MULTILINE)) == 12
    assert re.search(r'blocks\.0 .*head 64 to 32, hidden 768 to 576, act GELU to ReLU .*\d to .*\d', said)
    assert '16 images of 64 x 64' in said and '8 other images' in said and 'Top-1' in said
    with Image.open(out.with_suffix('.png')) as picture:
        assert min(picture.size) > 300
    network = timm.create_model(NAME, num_classes=CLASSES, img_size=SIDE, checkpoint_path=str(out)).eval()
    source, random = plain(), timm.create_model(NAME, num_classes=CLASSES, img_size=SIDE).eval()
    source.load_state_dict(torch.load(folder / 'plain.pth'))
    x = some_images()
    near, far = ((source(x) - other(x)).square().mean() for other in (network, random))
    assert near < 0.1 * far

    backbone = ss_backbones.SSViT('tiny', img_size=SIDE)  # and a detector's takes the same file
    assert not ss_backbones.load_weights(backbone, out).missing
    again = tmp_path / 'again.safetensors'
    code, said = inherit(capsys, folder / 'plain.pth', NAME, again, '--images', folder / 'train', *SIZE, '--count', 16)
    assert code == 0, said
    first, second = read_checkpoint(str(out)), read_checkpoint(str(again))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert activations_in(first) == activations_in(second) == activations_of(backbone)  # its own, not the source's


@torch.no_grad()
def test_float64_weights_keep_their_precision_and_equal_settings_their_network(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = plain(settings='specific').double()
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'ss.pth')
    out = tmp_path / 'same.pth'
    code, said = inherit(capsys, tmp_path / 'ss.pth', NAME, out, '--images', folder / 'train', *SIZE, '--count', 16)
    assert code == 0 and '100.0% get the same class' in said, said
    network = plain(settings='specific').double()
    network.load_state_dict(torch.load(out))
    x = some_images().double()
    assert (network(x) - source(x)).abs().max() < 1e-9 * source(x).abs().max()


@needs_mmdet
def test_of_a_detectors_config_the_backbone_inherits(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(tmp_path / 'coco', ('thing',), images=4)
    config, out = tmp_path / 'detector.py', tmp_path / 'out.pth'
    config.write_text(f"""
_base_ = '{ROOT}/configs/mask_rcnn/mask-rcnn_ss-vit-tiny_fpn_1x_coco.py'
model = dict(backbone=dict(img_size={SIDE}))
data = dict(
    _delete_=True,
    type='CocoDataset',
    data_root='{tmp_path}/coco/',
    ann_file='annotations.json',
    data_prefix=dict(img='images/'),
    metainfo=dict(classes=('thing',)),
    pipeline=[],
)
train_dataloader = dict(dataset=data)
""")
    annotations = next((tmp_path / 'coco').glob('*.json'))
    config.write_text(config.read_text().replace('annotations.json', annotations.name))
    code, said = inherit(capsys, folder / 'plain.pth', config, out, '--img-size', 96, 128, '--count', 4)
    assert code == 0, said
    assert '4 images of 96 x 128' in said and re.search(r'On the same 4 images: of the variance .* is left over', said)
    keys = torch.load(out).keys()
    assert 'blocks.11.mlp.fc2.weight' in keys and not any(key.startswith(('pyramid', 'head')) for key in keys)


def test_of_a_classifiers_config_the_training_data_are_taken(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / 'classifier.py', tmp_path / 'out.pth'
    config.write_text(f"""
_base_ = '{ROOT}/configs/imagenet/ss-vit-tiny_8xb128_in1k.py'
model = dict(backbone=dict(img_size={SIDE}))
dataset = dict(data_root='{folder}', transform=dict(input_size={SIDE}))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
""")
    code, said = inherit(capsys, folder / 'plain.pth', config, out, '--count', 12)
    assert code == 0 and '12 images of 64 x 64' in said and '12 other images' in said, said
    assert torch.load(out)['head.weight'].shape[0] == CLASSES  # the source's, not the config's 1000


def test_an_image_that_cannot_be_read_is_named_and_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_classes(tmp_path / 'images', classes=2) / 'train'
    broken = images / 'class0' / '3.png'
    broken.write_bytes(broken.read_bytes()[:200])
    code, said = inherit(capsys, folder / 'plain.pth', NAME, tmp_path / 'o.pth', '--images', images, *SIZE)
    assert code == 0 and f'{broken} cannot be read and is left out' in said and '15 images of 64 x 64' in said, said
    for file in images.rglob('*.png'):
        file.write_bytes(b'')
    code, said = inherit(capsys, folder / 'plain.pth', NAME, tmp_path / 'p.pth', '--images', images, *SIZE)
    assert code == 2 and 'More than 10 images cannot be read' in said


def file_with(folder: Path, name: str, weights: dict[str, Tensor]) -> Path:
    torch.save(weights, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (
            'SOURCE NAME OUT',
            'ss_vit_tiny_patch16_224 has no training data of its own. Give a folder of images: --images',
        ),
        ('SOURCE NAME OUT --images NOWHERE', 'is no folder. Give one with images'),
        ('SOURCE NAME OUT --images EMPTY', 'has no image (.png, .jpg, .jpeg) in it or below it'),
        ('SOURCE NAME OUT --images IMAGES --count 2', '2 images are too few'),
        ('SOURCE NAME OUT --images IMAGES --count 0', "'0' must be a whole number, at least 1"),
        ('SOURCE NAME OUT --images IMAGES --device cuda', 'no CUDA device'),
        ('SOURCE ss_vit_small_patch16_224 OUT --images IMAGES', 'Nothing was loaded: nothing fits'),
        ('SOURCE ss_pvt_v2_b0 OUT --images IMAGES', 'Nothing was loaded'),
        ('SOURCE dfc_deit_tiny_patch16_224 OUT --images IMAGES', 'Nothing was loaded'),
        ('SOURCE deit_tiny_patch16_224 OUT --images IMAGES', 'neither a config file (.py) nor a timm model of this'),
        ('SOURCE nothing.py OUT --images IMAGES', 'there is no config file nothing.py'),
        ('SHORT NAME OUT --images IMAGES', 'the checkpoint has no blocks.11'),
        ('LACKING NAME OUT --images IMAGES', 'is not complete, 1 tensors are missing'),
        ('NAN NAME OUT --images IMAGES', '1 tensors hold NaN or infinity, the first is blocks.3.norm1.bias'),
        ('NOWHERE NAME OUT --images IMAGES', 'does not exist'),
        ('timm:no_such_model NAME OUT --images IMAGES', 'timm has no model no_such_model'),
        ('SOURCE NAME OUT.bin --images IMAGES', 'must end in .pth or .safetensors'),
        ('SOURCE NAME THERE --images IMAGES', 'exists already'),
    ],
)
def test_bad_input_is_told_in_words(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, expected: str
) -> None:
    weights = torch.load(folder / 'plain.pth')
    (tmp_path / 'empty').mkdir()
    there = tmp_path / 'there.pth'
    there.write_text('mine')
    broken = {key: value.clone() for key, value in weights.items()}
    broken['blocks.3.norm1.bias'][5] = torch.nan
    places = {
        'SOURCE': folder / 'plain.pth',
        'NAME': NAME,
        'OUT': tmp_path / 'out.pth',
        'OUT.bin': tmp_path / 'out.bin',
        'IMAGES': folder / 'train',
        'EMPTY': tmp_path / 'empty',
        'NOWHERE': tmp_path / 'nowhere',
        'THERE': there,
    }
    if words.startswith('SHORT'):
        short = {key: value for key, value in weights.items() if not key.startswith('blocks.11.')}
        places['SHORT'] = file_with(tmp_path, 'short.pth', short)
    if words.startswith('LACKING'):
        lacking = {key: value for key, value in weights.items() if key != 'blocks.2.attn.proj.bias'}
        places['LACKING'] = file_with(tmp_path, 'lacking.pth', lacking)
    if words.startswith('NAN'):
        places['NAN'] = file_with(tmp_path, 'nan.pth', broken)
    code, said = inherit(capsys, *(places.get(word, word) for word in words.split()), *SIZE)
    assert code == 2, said
    assert expected in said and 'Traceback' not in said, said
    assert there.read_text() == 'mine' and not (tmp_path / 'out.pth').exists()
    assert not (tmp_path / 'out.png').exists()


def test_memory_does_not_grow_with_the_images(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At no time the tokens of more than two batches are there."""
    load, alive, most = torch.load, weakref.WeakSet(), []

    def counting(*arguments: object, **options: object) -> Tensor:
        tokens = load(*arguments, **options)
        if isinstance(tokens, Tensor):
            alive.add(tokens)
            most.append(len(alive))
        return tokens

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('ss_backbones.compress.streams.torch.load', counting)
        arguments = ('--images', folder / 'train', *SIZE, '--batch-size', 2)
        code, said = inherit(capsys, folder / 'plain.pth', NAME, tmp_path / 'o.pth', *arguments)
    assert code == 0 and '24 images' in said, said
    assert 3 <= max(most) <= 6  # of 12 batches, and of three kinds of tokens
