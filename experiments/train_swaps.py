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
  unbuilt      nor can the config that it is from be built here, as a package, a file or the internet is missing
  inference    the config has no optimiser
  not before   the old model fails in the same words
  failed       none of these
"""

import argparse
import math
import multiprocessing
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from real_batches import batch, size_for
from rich.console import Console
from rich.progress import track
from rows import append, rows_of
from shipped import shipped, swap

import ss_backbones
from ss_backbones.errors import UserError
from ss_backbones.openmmlab.configs import LIBRARIES, library_of, read_config
from ss_backbones.openmmlab.swapping import verify
from ss_backbones.openmmlab.swapping.verifying import BUILT, RUN
from ss_backbones.tables import print_table

BACKBONE = {'type': 'SSPVTv2', 'arch': 'b0', 'drop_path_rate': 0.0}  # a dropped block would have no gradient
PARTS = {'head': re.compile('head$'), 'neck': re.compile('neck$')}
ROLES = ('model', 'head', 'neck', 'constructor')
CHECKPOINTS = ('pretrained', 'teacher_ckpt')
_FORK = multiprocessing.get_context('fork')  # the libraries are imported once


def classes_of(config: Config) -> frozenset[tuple[str, str]]:
    """Role and name of every class of a model that trains, and of what makes its optimiser."""
    found = {('model', _name(config.model.type))}
    if 'type' in (config.model.get('detector') or ()):
        found.add(('model', _name(config.model.detector.type)))
    constructor = (config.get('optim_wrapper') or {}).get('constructor')
    return frozenset(
        {*found, *_parts(config.model, ''), *([('constructor', _name(constructor))] if constructor else [])}
    )


def _parts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for role, ends in PARTS.items():
            if 'type' in value and ends.search(key):
                yield role, _name(value['type'])
        for inner, part in value.items():
            yield from _parts(part, inner)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part, key)


def _name(kind: str | type) -> str:
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def groups_of(match: str) -> dict[tuple[str, str], frozenset[tuple[str, str, str]]]:
    """The shortest of the names (with the library) for each backbone and set of classes, and these classes."""
    groups: dict[object, tuple[str, str]] = {}
    for library in LIBRARIES:
        configs = shipped(library, match)
        for name in track(sorted(configs, key=lambda name: (len(name), name)), library, console=Console(stderr=True)):
            try:
                config = read_config(str(configs[name]), {})
            except UserError:
                continue
            if not (config.get('model') or {}).get('type'):  # a part that others inherit from
                continue
            backbone = (config.model.get('detector') or config.model).get('backbone') or {}
            groups.setdefault((library, str(backbone.get('type')), classes_of(config)), (library, name))
    return {place: frozenset((group[0], *part) for part in group[2]) for group, place in groups.items()}


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
    """The loss of a step that is as it should be.

    Raises:
        ArithmeticError: Something is not finite, or got no gradient, or did not change.
    """
    init_default_scope(config.default_scope)
    MMLogger.get_instance('step', log_level='ERROR')
    MessageHub.get_instance('step').update_info_dict({'iter': 0, 'epoch': 0})  # some heads ask
    torch.manual_seed(0)
    config.model = without_checkpoints(config.model.to_dict())
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


def outcome(path: Path, coco: Path, segmentation: Path, swapped: bool) -> tuple[str, str]:
    """State and outcome of a config with the new backbone, or with its own."""
    config = read_config(str(path), {})
    os.chdir(next(folder for folder in path.parents if folder.name == '.mim'))  # configs name others from there
    if not config.get('optim_wrapper'):
        return 'inference', 'no optim_wrapper'
    old = config
    if swapped:
        try:
            with tempfile.TemporaryDirectory() as folder:
                config = swap(old, path, BACKBONE, Path(folder))
            for either in (old, config):
                either.model = without_checkpoints(either.model.to_dict())
            # some models write into their configs when they are built
            done = verify(deepcopy(config), deepcopy(old), path.name, library_of(old))
        except UserError as error:
            return 'refused', str(error).removeprefix(f'{path.name}: ')
        if done not in (RUN, BUILT):
            return 'unbuilt', done
    try:
        return 'step', f'{step(config, coco, segmentation):.3f}'
    except Exception as error:  # of any part of any library
        return 'failed', f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'


def apart(limit: float, work: Callable[..., tuple[str, str]], *arguments: object) -> tuple[str, str]:
    """What the work returns, from a process of its own."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=lambda: sender.send(work(*arguments)))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(limit) else ('failed', f'more than {limit:g} seconds')
    except EOFError:
        process.join()
        return 'failed', f'the process ended with {process.exitcode}'
    finally:
        process.kill()
        process.join()


def row_of(place: tuple[str, str], path: Path, classes: frozenset, arguments: argparse.Namespace) -> dict[str, str]:
    """Try a config."""
    start = time.perf_counter()
    data = arguments.coco.resolve(), arguments.segmentation.resolve()
    state, words = apart(arguments.limit, outcome, path, *data, True)
    if state == 'failed':
        before = apart(arguments.limit, outcome, path, *data, False)
        if before == (state, words):
            state = 'not before'
        elif before[0] != 'step':
            words = f'{words}; with the old backbone {before[1]}'
    return {
        'library': place[0],
        'config': place[1],
        'classes': ' '.join(f'{role}:{name}' for _, role, name in sorted(classes)),
        'state': state,
        'outcome': words,
        'seconds': f'{time.perf_counter() - start:.0f}',
    }


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
    groups = groups_of(arguments.match)
    while True:
        states = {(row['library'], row['config']): row['state'] for row in rows_of(arguments.out)}
        covered = {part for place, state in states.items() if state == 'step' for part in groups.get(place, ())}
        left = {place: parts - covered for place, parts in groups.items() if place not in states and parts - covered}
        if not left:
            break
        place = min(left, key=lambda place: (-len(left[place]), len(groups[place]), place))
        path = shipped(place[0])[place[1]]
        append(arguments.out, [row_of(place, path, groups[place], arguments)])
    occurring = set().union(*groups.values())
    print_table(
        {'': '', 'kind': '', 'classes': 'd', 'took a step': 'd', 'did not': ''},
        [
            (library, role, len(some), len(some & covered), ', '.join(sorted(name for *_, name in some - covered)))
            for library in LIBRARIES
            for role in ROLES
            if (some := {part for part in occurring if part[:2] == (library, role)})
        ],
    )


if __name__ == '__main__':
    main()
