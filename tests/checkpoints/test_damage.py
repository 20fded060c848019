"""Damaged files and tensors that are no weights, by every way in: refused with file and cause, nothing loaded."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
import timm
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_checkpoint
from safetensors.torch import save_file
from small_networks import CLASSIFIERS
from torch import Tensor, nn

from ss_backbones import CheckpointError, SSPVTv2, load_weights
from ss_backbones.checkpoints import integrity
from ss_backbones.checkpoints.conversion import convert
from ss_backbones.checkpoints.files import read_checkpoint
from ss_backbones.checkpoints.values import not_finite

ARCH = dict(embed_dims=(16, 32, 40, 64), depths=(1, 1, 1, 1))
TIMM = dict(model_name='ss_pvt_v2_b0', arch=ARCH, num_classes=0)
WEIGHT, BIAS = 'stages.1.blocks.0.mlp.fc1.weight', 'stages.0.norm.bias'


def backbone(**options: object) -> SSPVTv2:
    return SSPVTv2(ARCH, **options)


def flipped(file: Path, key: str = WEIGHT) -> Path:
    """The file with one bit changed among the numbers of a tensor."""
    numbers = read_checkpoint(str(file))[key].numpy().tobytes()
    content = bytearray(file.read_bytes())
    content[content.index(numbers) + len(numbers) // 2] ^= 1
    file.write_bytes(content)
    return file


def saved(content: object, file: Path) -> Path:
    torch.save(content, file)
    return file


def load_detector(file: Path) -> None:
    detector = nn.Module()
    detector.backbone = backbone()
    load_checkpoint(detector, str(file), revise_keys=[('^', 'backbone.')])


# The file becomes weights, or else an error; what comes back is what it was loaded into, where there is anything.
WAYS: dict[str, Callable[[Path], object]] = {
    'load_weights': lambda file: load_weights(backbone(), file),
    'init_cfg': lambda file: backbone(init_cfg=dict(type='Pretrained', checkpoint=str(file))).init_weights(),
    'checkpoint_path': lambda file: timm.create_model(**TIMM, checkpoint_path=str(file)),
    'pretrained': lambda file: timm.create_model(**TIMM, pretrained=True, pretrained_cfg_overlay=dict(file=str(file))),
    'pretrained_cfg': lambda file: timm.create_model(**TIMM, pretrained=True, pretrained_cfg=dict(file=str(file))),
    'features_only': lambda file: timm.create_model(
        'ss_pvt_v2_b0', arch=ARCH, features_only=True, checkpoint_path=str(file)
    ),
    'not strict': lambda file: timm.models.load_checkpoint(timm.create_model(**TIMM), str(file), strict=False),
    'mmengine': load_detector,
    'convert': lambda file: convert(file, file.with_name('out.pth'), 'timm'),
}
every_way = pytest.mark.parametrize('way', WAYS)


@every_way
def test_a_flipped_bit(way: str, tmp_path: Path) -> None:
    file = saved(backbone().state_dict(), tmp_path / 'a.pth')
    WAYS[way](file)
    (tmp_path / 'out.pth').unlink(missing_ok=True)
    flipped(file)
    assert torch.load(file).keys() == backbone().state_dict().keys()  # torch sees nothing
    with pytest.raises(CheckpointError, match=r'a.pth cannot be read as a checkpoint \(Bad CRC-32 for file .*/data/'):
        WAYS[way](file)
    assert not (tmp_path / 'out.pth').exists()


OTHER_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    'cut': (lambda file: file.write_bytes(file.read_bytes()[:9000]), r'cannot be read as a checkpoint'),
    'empty': (lambda file: file.write_bytes(b''), 'is empty'),
    'missing': (lambda file: file.unlink(), 'does not exist'),
    'folder': (lambda file: (file.unlink(), file.mkdir()), 'is a directory'),
    'text': (lambda file: file.write_text('<html>'), 'is no checkpoint, is damaged'),
    'list': (lambda file: torch.save([1], file), 'holds a list'),
    'foreign code': (lambda file: torch.save(nn.Linear(1, 1), file), '.*not safe to load'),
    'cut safetensors': (lambda file: file.write_bytes(b'\x10\0\0\0\0\0\0\0{"a"'), 'cannot be read as a checkpoint'),
}


@every_way
def test_other_damage(way: str, tmp_path: Path) -> None:
    for name, (damage, words) in OTHER_FILES.items():
        file = saved(backbone().state_dict(), tmp_path / f'{name}.pth')
        damage(file)
        with pytest.raises(CheckpointError, match=f'{name}.pth {words}'):
            WAYS[way](file)


def test_checksums_are_compared_once_for_a_file_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(integrity, 'ZipFile', lambda file: opened.append(file.name) or ZipFile(file))
    file = saved(backbone().state_dict(), tmp_path / 'a.pth')
    for _ in range(2):  # it has just been written, and its time would not tell of another writing
        read_checkpoint(str(file))
    assert len(opened) == 2
    os.utime(file, (1e9, 1e9))
    for _ in range(3):
        read_checkpoint(str(file))
    assert len(opened) == 3
    flipped(file)
    with pytest.raises(CheckpointError, match='Bad CRC-32'):
        read_checkpoint(str(file))


def test_every_entry_of_a_name_is_compared(tmp_path: Path) -> None:
    """Of two of the same name zipfile takes the last, and torch any."""
    file = saved({'a': torch.arange(64.0)}, tmp_path / 'a.pth')
    with ZipFile(file, 'a') as archive, pytest.warns(UserWarning, match='Duplicate'):
        archive.writestr('a/data/0', torch.arange(64.0).numpy().tobytes())
    content = bytearray(file.read_bytes())
    content[content.index(torch.arange(64.0).numpy().tobytes()) + 5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match='Bad CRC-32'):
        read_checkpoint(str(file))


def test_mmengine_reads_files_of_this_machine_like_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    source = backbone().state_dict()
    save_file(source, tmp_path / 'a.safetensors')
    found = CheckpointLoader.load_checkpoint('~/a.safetensors', 'cpu')
    assert all(torch.equal(found[key], value) for key, value in source.items())
    saved(source, tmp_path / 'a.pth')
    assert all(value.is_meta for value in CheckpointLoader.load_checkpoint('~/a.pth', 'meta').values())


# ---- tensors


def with_tensor(change: Callable[[Tensor], Tensor], key: str = WEIGHT) -> dict[str, Tensor]:
    weights = dict(backbone().state_dict())
    weights[key] = change(weights[key])
    return weights


def quantized(value: Tensor) -> Tensor:
    return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


TENSORS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    'sparse': (lambda value: value.to_sparse(), 'is of the layout torch.sparse_coo'),
    'CSR': (lambda value: value.to_sparse_csr(), 'is of the layout torch.sparse_csr'),
    'meta': (lambda value: value.to('meta'), 'is on the meta device, without numbers'),
    'quantized': (quantized, r'is quantized \(torch.qint8\)'),
    'expanded': (lambda value: value[:1, :1].clone().expand(10**6, 10**6), 'is expanded: .* holds 1 numbers'),
    'its shape, expanded': (lambda value: value[:1].clone().expand(value.shape), 'is expanded: .* holds 32 numbers'),
    'complex': (lambda value: value + 0j, 'is of complex64, and the model has float32'),
    'whole': (lambda value: value.to(torch.int8), 'is of int8, and the model has float32'),
    'bool': (lambda value: value > 0, 'is of bool, and the model has float32'),
}
ELSEWHERE = ('not strict', 'mmengine')  # others load there; what they do not refuse is theirs


@pytest.mark.parametrize('name', TENSORS)
def test_tensors_that_are_no_weights(name: str, tmp_path: Path) -> None:
    change, words = TENSORS[name]
    weights = with_tensor(change)
    model = timm.create_model(**TIMM)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for load in (load_weights, lambda model, given: model.load_state_dict(given)):
        for given in (weights, {'state_dict': {f'backbone.{key}': value for key, value in weights.items()}}):
            with pytest.raises(CheckpointError, match=f'{WEIGHT} {words}'):
                load(model, given)
    with pytest.raises(CheckpointError, match=f'{WEIGHT} {words}'):
        load_weights(model, weights, partial=True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    file = saved(weights, tmp_path / 'a.pth')
    for way, load in WAYS.items():
        if way not in ELSEWHERE:
            with pytest.raises(CheckpointError, match=f'a.pth: {WEIGHT} {words}'):
                load(file)
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize('dtype', [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions(dtype: torch.dtype) -> None:
    model = backbone()
    weights = with_tensor(lambda value: value.to(dtype))
    load_weights(model, weights)
    assert torch.equal(model.state_dict()[WEIGHT], weights[WEIGHT].float())
    assert not not_finite(weights.items())
    weights[WEIGHT] = torch.full_like(weights[WEIGHT].float(), torch.nan).to(dtype)
    assert not_finite(weights.items()) == [WEIGHT]
    with pytest.raises(CheckpointError, match=f'1 tensors hold NaN or infinity, the first is {WEIGHT}'):
        load_weights(model, weights)


@pytest.mark.parametrize('number', [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite(number: float, tmp_path: Path) -> None:
    weights = with_tensor(lambda value: value.clone().index_fill(0, torch.tensor([3]), number))
    weights[BIAS] = torch.full_like(weights[BIAS], number)
    file = saved(weights, tmp_path / 'a.pth')
    words = f'a.pth: 2 tensors hold NaN or infinity, the first are {BIAS}, {WEIGHT}. Nothing was loaded'
    for way, load in WAYS.items():
        if way not in (*ELSEWHERE, 'convert'):
            with pytest.raises(CheckpointError, match=words):
                load(file)
    model = backbone()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match='pass partial=True'):
        load_weights(model, weights)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    load_weights(model, weights, partial=True)
    assert not model.state_dict()[BIAS].isfinite().any()
    said = str(convert(file, tmp_path / 'out.pth', 'timm'))
    assert f'NOT FINITE: 2 tensors hold NaN or infinity, the first are {BIAS}, {WEIGHT}.' in said


def test_numbers_that_are_too_large_for_the_network() -> None:
    weights = with_tensor(lambda value: torch.full_like(value, 1e6))
    load_weights(backbone(), weights)
    with pytest.raises(CheckpointError, match=f'{WEIGHT}. .* too large for float16'):
        load_weights(backbone().half(), weights)


def test_a_mapping_that_contains_itself(tmp_path: Path) -> None:
    given: dict = {'epoch': 1}
    given['state_dict'] = given
    deep: dict = dict(backbone().state_dict())
    for _ in range(5):
        deep = {'model': deep}
    assert load_weights(backbone(), deep).share == 1
    words = r'its weights in more than 10 mappings within each other \(its entries: epoch, state_dict\)'
    file = saved(given, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f'the given mapping has {words}'):
        load_weights(backbone(), given)
    for way, load in WAYS.items():
        if way not in ELSEWHERE:
            with pytest.raises(CheckpointError, match=f'a.pth has {words}'):
                load(file)


@pytest.mark.parametrize('make', CLASSIFIERS[:2], ids=str)
def test_whole_numbers_where_the_network_has_some(make: Callable[..., nn.Module]) -> None:
    """A counter of whole numbers is none of this."""
    model, other = make(), make()
    for network in (model, other):
        network.register_buffer('steps', torch.tensor(0))
    other.steps += 3
    assert load_weights(model, other.state_dict()).share == 1 and model.steps == 3
    with pytest.raises(CheckpointError, match='steps is of complex64, and the model has int64'):
        load_weights(model, {**other.state_dict(), 'steps': torch.tensor(1j)})


def test_a_copy_of_a_good_file_is_read_anew(tmp_path: Path) -> None:
    """What is known of a file goes with its content, not with its name."""
    good = saved(backbone().state_dict(), tmp_path / 'good.pth')
    bad = flipped(Path(shutil.copy(good, tmp_path / 'bad.pth')))
    os.utime(good, (1e9, 1e9))
    os.utime(bad, (1e9 + 1, 1e9 + 1))
    read_checkpoint(str(good))
    shutil.copy2(bad, good)
    with pytest.raises(CheckpointError, match='Bad CRC-32'):
        read_checkpoint(str(good))
