"""One training step of every detector, segmenter, head and neck of mmdet and mmsegmentation with a swapped backbone.

    python experiments/train_swaps.py COCO SEGMENTATION OUT.csv [--match TEXT] [--limit 300]

COCO has annotations/instances_train2017.json and train2017/, SEGMENTATION has images/train and annotations/train
(CamVid as in camvid.py). The configs that the two libraries ship are grouped by the classes that are in their models,
and groups are taken until every class was in a step, or in no group that can take one. The backbone is SS-PVTv2-B0 with
random weights. Each config has a process of its own, with one thread and at most so many seconds.

A step is the model's own ``train_step`` with the config's own optimiser on two real images (real_batches.py). It counts
if the loss is finite, every trainable parameter of the backbone gets a finite gradient, and the weights of the backbone
and of the rest change. What does not count is tried with the old backbone too.

A row of OUT.csv is a config; what is in the file already is not run again. The states:
  step         it took a step; the outcome is the loss
  refused      the swap says why it cannot be
  unbuilt      the config that it is from cannot be built here either: a package is missing, or it is broken
  inference    the config has no optimiser
  not before   the old model fails in the same words
  failed       none of these
"""

import argparse
import math
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from classes import ROLES, Part, Place, classes_of, groups_of
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed
from real_batches import batch, size_for
from rows import append, rows_of
from shipped import shipped, swap

import ss_backbones
from ss_backbones.errors import UserError
from ss_backbones.openmmlab.configs import LIBRARIES, library_of, read_config
from ss_backbones.openmmlab.swapping import verify
from ss_backbones.openmmlab.swapping.verifying import BUILT, RUN
from ss_backbones.tables import print_table

BACKBONE = {'type': 'SSPVTv2', 'arch': 'b0', 'drop_path_rate': 0.0}  # a dropped block would have no gradient
CHECKPOINTS = ('pretrained', 'teacher_ckpt')
_FORK = multiprocessing.get_context('fork')  # the libraries are imported once


class Outcome(NamedTuple):
    """What came of a config: the state, the loss or the reason, and which of its classes the swap has left out."""

    state: str
    words: str
    gone: frozenset[Part] = frozenset()


def without_checkpoints(value: Any) -> Any:
    """A config's model that reads and downloads no weights."""
    if isinstance(value, Mapping):
        kept = {key: without_checkpoints(inner) for key, inner in value.items()}
        kept.update(dict.fromkeys(kept.keys() & {*CHECKPOINTS}))
        if 'Pretrained' in str(kept.get('init_cfg')):
            kept['init_cfg'] = None
        return kept
    return type(value)(map(without_checkpoints, value)) if isinstance(value, list | tuple) else value


def step(config: Config, coco: Path, segmentation: Path) -> float:
    """The loss of a step that is as it should be; the config is changed.

    Raises:
        ArithmeticError: Something is not finite, or got no gradient, or did not change.
    """
    init_default_scope(config.default_scope)
    MMLogger.get_instance('step', log_level='ERROR')
    MessageHub.get_instance('step').update_info_dict({'iter': 0, 'epoch': 0})  # some heads ask
    set_random_seed(0)
    config.model.data_preprocessor = _padded_to(size_for(config)[::-1], config.model.get('data_preprocessor') or {})
    model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    wrapper = config.optim_wrapper
    wrapper.type = 'OptimWrapper'  # the one for mixed precision refuses CPUs
    for key in ('loss_scale', 'dtype', 'accumulative_counts'):
        wrapper.pop(key, None)
    optimizer = build_optim_wrapper(model, wrapper)
    holder = getattr(model, 'detector', None) or getattr(model, 'student', None) or model
    backbone = {key: of for key, of in holder.backbone.named_parameters() if of.requires_grad}
    others = [of for of in model.parameters() if of.requires_grad and not any(of is own for own in backbone.values())]
    finite = {}
    for key, parameter in backbone.items():
        # the wrapper throws the gradients away after the step
        parameter.register_post_accumulate_grad_hook(
            lambda of, key=key: finite.update({key: bool(of.grad.isfinite().all())})
        )
    before = [[of.detach().clone() for of in some] for some in (backbone.values(), others)]
    loss = float(model.train_step(batch(config, coco, segmentation), optimizer)['loss'])
    if not math.isfinite(loss):
        raise ArithmeticError(f'the loss is {loss}')
    if wrong := [key for key in backbone if not finite.get(key)]:
        raise ArithmeticError(f'no finite gradient for {len(wrong)} of {len(backbone)} in the backbone: {wrong[0]}')
    same = [key for (key, of), old in zip(backbone.items(), before[0], strict=True) if torch.equal(of, old)]
    if same:
        raise ArithmeticError(f'{len(same)} of {len(backbone)} in the backbone did not change: {same[0]}')
    if all(torch.equal(of, old) for of, old in zip(others, before[1], strict=True)):
        raise ArithmeticError('nothing but the backbone changed')
    return loss


def _padded_to(size: tuple[int, int], value: Any) -> Any:
    """A data_preprocessor that pads to this height and width, if to any."""
    if isinstance(value, Mapping):
        return {key: size if key == 'size' else _padded_to(size, inner) for key, inner in value.items()}
    return type(value)(_padded_to(size, inner) for inner in value) if isinstance(value, list | tuple) else value


def outcome(path: Path, coco: Path, segmentation: Path, swapped: bool) -> Outcome:
    """What comes of a config with the new backbone, or with its own."""
    old = config = read_config(str(path), {})
    os.chdir(next(folder for folder in path.parents if folder.name == '.mim'))  # configs name others from there
    if not old.get('optim_wrapper'):
        return Outcome('inference', 'no optim_wrapper')
    try:
        if swapped:
            with tempfile.TemporaryDirectory() as folder:
                config = swap(old, path, BACKBONE, Path(folder))
        for either in (old, config):
            either.model = without_checkpoints(either.model.to_dict())
        # some models write into their configs when they are built
        done = verify(deepcopy(config), deepcopy(old), path.name, library_of(old)) if swapped else BUILT
    except UserError as error:
        return Outcome('refused', str(error).removeprefix(f'{path.name}: '))
    if done not in (RUN, BUILT):
        return Outcome('unbuilt', done)
    gone = frozenset(part for part in classes_of(old) - classes_of(config) if part.role != 'constructor')
    try:
        return Outcome('step', f'{step(config, coco, segmentation):.3f}', gone)
    except Exception as error:  # of any part of any library
        return Outcome('failed', f'{type(error).__name__}: {" ".join(str(error).split())[:200]}')


def apart(limit: float, work: Callable[..., Outcome], *arguments: object) -> Outcome:
    """What the work returns, from a process of its own."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=lambda: sender.send(work(*arguments)))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(limit) else Outcome('failed', f'more than {limit:g} seconds')
    except EOFError:
        process.join()
        return Outcome('failed', f'the process ended with {process.exitcode}')
    finally:
        process.kill()
        process.join()


def row_of(place: Place, classes: frozenset[Part], arguments: argparse.Namespace) -> dict[str, str]:
    """Try a config."""
    start = time.perf_counter()
    what = shipped(place[0])[place[1]], arguments.coco.resolve(), arguments.segmentation.resolve()
    found = apart(arguments.limit, outcome, *what, True)
    state, words = found.state, found.words
    if state == 'failed':
        before = apart(arguments.limit, outcome, *what, False)
        if before == found:
            state = 'not before'
        elif before.state != 'step':
            words = f'{words}; with the old backbone {before.words}'
    return {
        'library': place[0],
        'config': place[1],
        'classes': ' '.join(map(str, sorted(classes - found.gone))),
        'state': state,
        'outcome': words,
        'seconds': f'{time.perf_counter() - start:.0f}',
    }


def next_config(groups: Mapping[Place, frozenset[Part]], rows: Sequence[Mapping[str, str]]) -> Place | None:
    """Of the configs without a row the one with the most classes that were in no step yet, if any has one."""
    done = {(row['library'], row['config']) for row in rows}
    steps = covered(rows)
    left = {place: {(place[0], str(part)) for part in groups[place]} - steps for place in groups.keys() - done}
    return min(
        (place for place in left if left[place]),
        key=lambda place: (-len(left[place]), len(groups[place]), place),
        default=None,
    )


def covered(rows: Sequence[Mapping[str, str]]) -> set[tuple[str, str]]:
    """Library and class of all that was in a step."""
    return {(row['library'], part) for row in rows if row['state'] == 'step' for part in row['classes'].split()}


def show(groups: Mapping[Place, frozenset[Part]], rows: Sequence[Mapping[str, str]]) -> None:
    """Print how many classes were in a step, and which were not."""
    table = []
    for library in LIBRARIES:
        for role in ROLES:
            some = {part for place in groups if place[0] == library for part in groups[place] if part.role == role}
            missing = sorted(part.name for part in some if (library, str(part)) not in covered(rows))
            if some:
                table.append((library, role, len(some), len(some) - len(missing), ', '.join(missing)))
    print_table({'': '', 'kind': '', 'classes': 'd', 'took a step': 'd', 'did not': ''}, table)


def main() -> None:
    """Run what OUT.csv does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('coco', type=Path)
    parser.add_argument('segmentation', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--match', default='', help='take those alone that have this in their names')
    parser.add_argument('--limit', type=float, default=300, help='seconds for one config')
    arguments = parser.parse_args()
    for path in (arguments.coco / 'annotations/instances_train2017.json', arguments.segmentation / 'images/train'):
        if not path.exists():
            parser.error(f'there is no {path}')
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    ss_backbones.register()
    groups = groups_of(LIBRARIES, arguments.match)
    while place := next_config(groups, rows_of(arguments.out)):
        append(arguments.out, [row_of(place, groups[place], arguments)])
    show(groups, rows_of(arguments.out))


if __name__ == '__main__':
    main()
