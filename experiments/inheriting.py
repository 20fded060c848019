"""SS networks that inherit from plain twins trained here, beside SS networks from random weights: accuracy by epoch.

    python experiments/inheriting.py CIFAR10 OUT.csv [--networks ...] [--ways ...] [--seeds 0 1] [--epochs 10]

CIFAR10 has the folders train/CLASS and val/CLASS with images of 32 x 32 pixels. For the recipe see cifar.py:

- plain: the plain twin, EPOCHS epochs at a learning rate of 1e-3, then as many at 3e-4;
- scratch: SS from random weights, likewise;
- scratch-bias: the same with ``ramp='bias'``;
- inherited: SS out of the plain twin at its end (epoch 0: without training), then EPOCHS epochs at 3e-4, half by the
  classes and half by what the plain twin sees in the same images.

A row of OUT.csv is an epoch; what is in the file already is not run again. The plain twins are kept beside it, as
NETWORK-SEED.pth.
"""

import time
from pathlib import Path

import timm
import torch
from cifar import NETWORKS, RATE, Data, parse, read, top1, train
from rows import append, rows_of
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


def build(network: str, way: str, device: str) -> nn.Module:
    """A network with random weights."""
    return timm.create_model(network, **NETWORKS[network], num_classes=10, **WAYS[way]).to(device)


def run(network: str, way: str, seed: int, epochs: int, data: Data, device: str, twin: Path, limit: float) -> list:
    """The rows of one training; the plain twin is kept in the file from which others inherit."""
    torch.manual_seed(seed)
    model = build(network, way, device)
    generator, rows, start = torch.Generator().manual_seed(seed), [], time.perf_counter()

    def note(epoch: int) -> None:
        figures = f'{top1(model, data):.2f}', f'{time.perf_counter() - start:.0f}'
        rows.append(dict(zip(FIELDS, (network, way, seed, epoch, *figures), strict=True)))

    if way == 'inherited':
        source = build(network, 'plain', device).eval()
        source.load_state_dict(torch.load(twin))
        inherit(source, model.eval(), data, generator)
        losses = train(model, data, epochs * [LATE], generator, distil(source), limit)
        note(0)
    else:
        losses = train(model, data, epochs * [RATE] + epochs * [LATE], generator, seconds=limit)
    for epoch, _ in enumerate(losses, start=1):
        note(epoch)
    if way == 'plain':
        torch.save(model.state_dict(), twin)
    return rows


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
            twin, which = arguments.out.parent / f'{network}-{seed}.pth', (network, str(seed))
            done = {row['way'] for row in rows_of(arguments.out) if (row['network'], row['seed']) == which}
            for way in WAYS:
                missing = way == 'plain' and 'inherited' not in done and not twin.exists()
                if missing or (way in arguments.ways and way not in done):
                    device, limit = arguments.device, arguments.seconds
                    rows = run(network, way, seed, arguments.epochs, data, device, twin, limit)
                    if way not in done:
                        append(arguments.out, rows)


if __name__ == '__main__':
    main()
