"""Corrupt checkpoints at random and load them in four ways: each must give the right weights, or be refused with the
file's name and the cause, change nothing, and run nothing that is in the file.

Flips, zeros and swaps are in torch's zip files, which have checksums; safetensors has none, so those are cut only.
"""

import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path

import timm
import torch
from checkout import finish, parser
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from safetensors.torch import save_file
from table import SMALL
from torch import Tensor, nn

from ss_backbones import CheckpointError, SSPVTv2, load_weights
from ss_backbones.checkpoints.conversion import convert
from ss_backbones.checkpoints.files import read_checkpoint
from ss_backbones.networks import PVTv2

ARCH = SMALL[PVTv2]['pvt']['arch']
State = Mapping[str, Tensor]


class Code:
    """Pickled, it is a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


# ---- damage: each changes a good file or writes another


def flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 1, 3, 30))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def zero(content: bytearray, chance: random.Random) -> None:
    start, length = chance.randrange(len(content)), chance.choice((1, 64, 4096, 100_000))
    content[start : start + length] = bytes(len(content[start : start + length]))


def swap(content: bytearray, chance: random.Random) -> None:
    length = chance.choice((1, 16, 512))
    a, b = (chance.randrange(len(content) - length) for _ in 'ab')
    first, second = bytes(content[a : a + length]), bytes(content[b : b + length])
    content[a : a + length], content[b : b + length] = second, first


BYTES = {'flip': flip, 'cut': cut, 'zeros': zero, 'swap': swap}
TENSORS: dict[str, Callable[[Tensor], Tensor]] = {
    'sparse': lambda value: value.to_sparse(),
    'meta': lambda value: value.to('meta'),
    'quantized': lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    'expanded': lambda value: torch.zeros(1).expand(10**5, 10**6),
    'whole': lambda value: value.to(torch.int8),
    'complex': lambda value: value + 0j,
    'NaN': lambda value: value * torch.nan,
    'infinite': lambda value: value.sign() * torch.inf,
}
KINDS = (*BYTES, 'cut safetensors', 'code', 'tensor', 'itself')


def corrupt(kind: str, good: State, folder: Path, chance: random.Random) -> tuple[Path, str]:
    """A corrupted file, and what was done to it."""
    file, what = folder / f'{kind}.pth', kind
    if kind in BYTES or kind == 'cut safetensors':
        if kind in BYTES:
            torch.save(chance.choice(({'state_dict': good}, good)), file)
        else:
            save_file(dict(good), file)
        content = bytearray(file.read_bytes())
        BYTES[kind.split()[0]](content, chance)
        file.write_bytes(content)
    elif kind == 'code':
        weights, code = dict(good), Code(folder / 'ran')
        place = chance.choice(('beside', 'tensor', 'whole'))
        if place == 'tensor':
            weights[chance.choice(list(weights))] = code
        given = {'beside': {'state_dict': weights, 'meta': code}, 'tensor': weights, 'whole': code}[place]
        torch.save(given, file, _use_new_zipfile_serialization=chance.random() < 0.5)
        what = f'{kind} ({place})'
    elif kind == 'tensor':
        name, key = chance.choice(list(TENSORS)), chance.choice([key for key in good if good[key].numel()])
        weights = {**good, key: TENSORS[name](good[key])}
        torch.save(chance.choice(({'state_dict': weights}, weights)), file)
        what = f'{name} {key}'
    else:
        given: dict[str, object] = {'meta': 1}
        given[chance.choice(('state_dict', 'model'))] = given
        torch.save(given, file)
    return file, what


# ---- ways in: each gives what was loaded, for a file


def into(load: Callable[[nn.Module, Path], object]) -> Callable[[Path], State]:
    """A way that loads into a new backbone; when it is refused, that must be as it was."""

    def way(file: Path) -> State:
        model = SSPVTv2(ARCH)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        try:
            load(model, file)
        except BaseException:
            assert same(model.state_dict(), before), 'the module is changed'
            raise
        return model.state_dict()

    return way


@cache
def detector_config() -> Config:
    """RetinaNet's, with few channels."""
    config = get_config('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py').model
    config.backbone = dict(type='SSPVTv2', arch=ARCH)
    config.neck.update(in_channels=list(ARCH['embed_dims']), out_channels=8)
    config.bbox_head.update(in_channels=8, feat_channels=8)
    return config


def by_detector(model: nn.Module, file: Path) -> None:
    init_default_scope('mmdet')
    detector = MODELS.build(deepcopy(detector_config()))
    detector.backbone = model
    model.init_cfg = dict(type='Pretrained', checkpoint=str(file))
    detector.init_weights()


def by_timm(file: Path) -> State:
    return timm.create_model('ss_pvt_v2_b0', arch=ARCH, num_classes=0, checkpoint_path=file).state_dict()


def by_convert(file: Path) -> State:
    out = file.with_name('out.pth')
    out.unlink(missing_ok=True)
    try:
        report = convert(file, out, 'timm')
    except BaseException:
        assert not out.exists(), 'a file was written'
        raise
    found = read_checkpoint(str(out))
    finite = all(value.isfinite().all() for value in found.values())
    assert finite or 'NOT FINITE' in str(report), 'nothing is said of NaN'
    return found if finite else {}


WAYS: dict[str, Callable[[Path], State]] = {
    'load_weights': into(load_weights),
    'init_cfg in mmdet': into(by_detector),
    "timm's checkpoint_path": by_timm,
    'convert': by_convert,
}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def outcome(way: Callable[[Path], State], file: Path, good: State, mark: Path) -> tuple[str, str]:
    """'right', 'refused' or 'WRONG', and why."""
    try:
        found = way(file)
        result = ('right', '') if same(found, good) else ('WRONG', 'other weights')
        if not found:
            result = 'refused', 'converted, and said to be not finite'
    except CheckpointError as error:
        named = str(file) in str(error)
        result = ('refused', '') if named else ('WRONG', f'the file is not named: {str(error)[:200]}')
    except Exception as error:  # whatever it is, it should have been the above
        result = 'WRONG', f'{type(error).__name__}: {str(error)[:200]}'
    return ('WRONG', 'foreign code was run') if mark.exists() else result


def run(count: int, seed: int) -> tuple[dict[str, Counter], list[str]]:
    """What came of so many files, by corruption and way, and what went wrong."""
    torch.manual_seed(seed)
    good = {key: value.clone() for key, value in SSPVTv2(ARCH).state_dict().items()}
    counts: dict[str, Counter] = defaultdict(Counter)
    wrong = []
    with tempfile.TemporaryDirectory() as place:
        mark = Path(place) / 'ran'
        for case in range(count):
            kind = KINDS[case % len(KINDS)]
            file, what = corrupt(kind, good, Path(place), random.Random(f'{seed} {case}'))
            for name, way in WAYS.items():
                found, why = outcome(way, file, good, mark)
                counts[f'{kind}, {name}'][found] += 1
                if found == 'WRONG':
                    wrong.append(f'case {case}, {what}, {name}: {why}')
            mark.unlink(missing_ok=True)
    return counts, wrong


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument('--count', type=int, default=200, help='corrupted files (200), each loaded in 4 ways')
    given = arguments.parse_args()
    return finish('corruption, way', ('right', 'refused', 'WRONG'), *run(given.count, given.seed))


if __name__ == '__main__':
    sys.exit(main())
