"""SS networks that inherit from plain twins trained here, beside SS networks from random weights: accuracy by epoch.

    python experiments/inheriting.py CIFAR10 OUT.csv [--networks ...] [--ways ...] [--seeds 0 1] [--epochs 10]

CIFAR10 has the folders train/CLASS and val/CLASS with images of 32 x 32 pixels. For the recipe see cifar.py; all have
EPOCHS epochs at a learning rate of 1e-3, then as many at 3e-4:

- plain: the plain twin;
- scratch: SS from random weights;
- scratch-bias: the same with ``ramp='bias'``;
- inherited: SS out of the plain twin after its first EPOCHS epochs (of which the row of that epoch is about, without
  training), then trained at 3e-4, half by the classes and half by what that plain twin sees in the same images.

A row of OUT.csv is an epoch; what is in the file already is not run again.
"""

import copy
import time

import timm
import torch
from cifar import NETWORKS, RATE, Data, append, parse, read, rows_of, top1, train
from torch import Tensor, nn
from torch.nn import functional as F

import ss_backbones
from ss_backbones.compress import inherit_blocks

WAYS = {'plain': {'settings': 'uniform'}, 'inherited': {}, 'scratch': {}, 'scratch-bias': {'ramp': 'bias'}}
LATE = 3e-4
FIELDS = ('network', 'way', 'seed', 'epoch', 'top1', 'seconds')
COUNT = 1024  # images that are inherited with


def distil(teacher: nn.Module):  # noqa: ANN201
    """The loss of a student: half by the classes, half by the teacher's probabilities."""

    def loss_of(logits: Tensor, classes: Tensor, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(inputs).softmax(1)
        return 0.5 * F.cross_entropy(logits, classes) + 0.5 * F.cross_entropy(logits, wanted)

    return loss_of


def run(
    network: str, way: str, seed: int, epochs: int, data: Data, device: str, source: nn.Module | None
) -> tuple[list, nn.Module | None]:
    """The rows of one training; and the plain twin in the middle of its own, from which others inherit."""
    torch.manual_seed(seed)
    model = timm.create_model(network, **NETWORKS[network], num_classes=10, **WAYS[way]).to(device)
    generator, rows, start = torch.Generator().manual_seed(seed), [], time.perf_counter()

    def note(epoch: int) -> None:
        figures = f'{top1(model, data):.2f}', f'{time.perf_counter() - start:.0f}'
        rows.append(dict(zip(FIELDS, (network, way, seed, epoch, *figures), strict=True)))

    before = 0
    if way == 'inherited':
        inherit(source, model.eval(), data, generator)
        before, losses = epochs, train(model, data, epochs * [LATE], generator, distil(source))
        note(before)
    else:
        losses = train(model, data, epochs * [RATE] + epochs * [LATE], generator)
    for epoch, _ in enumerate(losses, start=before + 1):
        note(epoch)
        if way == 'plain' and epoch == epochs:
            source = copy.deepcopy(model)
    return rows, source


def inherit(source: nn.Module, target: nn.Module, data: Data, generator: torch.Generator) -> None:
    """Make the target out of the source with some of the training images, whose classes are not looked at."""
    images = data['train'][0]
    some = torch.randperm(len(images), generator=generator)[:COUNT]
    for _ in inherit_blocks(source, target, list(images[some].split(128))):
        pass


def main() -> None:
    """Run what OUT.csv does not have yet."""
    arguments = parse(__doc__, list(NETWORKS), list(WAYS), [0, 1])
    ss_backbones.register()
    data = read(arguments.data)
    for seed in arguments.seeds:
        for network in arguments.networks:
            source, which = None, (network, str(seed))
            done = {row['way'] for row in rows_of(arguments.out) if (row['network'], row['seed']) == which}
            wanted = {*arguments.ways} - done
            for way in WAYS:
                if way not in wanted and not (way == 'plain' and 'inherited' in wanted):
                    continue
                rows, source = run(network, way, seed, arguments.epochs, data, arguments.device, source)
                if way not in done:
                    append(arguments.out, rows)


if __name__ == '__main__':
    main()
