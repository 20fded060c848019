"""Search a small plain ViT at several budgets, beside networks of the same cost that were not searched.

    python experiments/searching.py CIFAR10 OUT.csv [--ways ...] [--seeds 0 1] [--epochs 3] [--images 10000]

CIFAR10 has the folders train/CLASS and val/CLASS with images of 32 x 32 pixels. The network is a ViT with patches of 4
pixels, 6 blocks of 48 channels and 3 heads; for the recipe see cifar.py. A trained one is made first, in 3 * EPOCHS
epochs at 1e-3 (kept beside OUT.csv as dense-SEED.pth). All others have twice EPOCHS epochs more at 3e-4:

- dense: the trained network, as it is;
- searched-BUDGET: half of these with gates, whose learning rate is 0.02, and half without, from the searched weights;
- random-BUDGET-NUMBER: the trained network, cut to mixers and hidden widths drawn at random for that cost;
- narrow-BUDGET: one with fewer channels throughout, from random weights, so that it has all 5 * EPOCHS epochs.

A row of OUT.csv is a network; what is in the file already is not run again. ``share`` are multiply-adds over those of
the trained network, and ``before`` is top-1 before the last EPOCHS epochs (of the others than searched ones: before
the last twice EPOCHS).
"""

import copy
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from cifar import RATE, Data, parse, read, some, top1, train
from rows import append, rows_of
from timm.optim import param_groups_weight_decay
from torch import nn
from torch.nn import functional as F

import ss_backbones
from ss_backbones.compress.search_plan import SearchPlan
from ss_backbones.layers.gates import START
from ss_backbones.layers.search_mixer import CHOICES
from ss_backbones.networks.searching import SearchCost, draw_gates, found_settings, found_weights, gates, search_form

CHANNELS, HEADS = 48, 3
LATE, GATE_RATE = 3e-4, 0.02
PULL = 40.0  # of the cost: the weight that ss-backbones search takes by itself, for the share instead of G
BUDGETS, RANDOM = (0.8, 0.6), 5
FIELDS = ('way', 'seed', 'share', 'before', 'top1', 'parameters', 'mixers', 'hidden', 'seconds')
WAYS = [
    'dense',
    *(f'searched-{budget}' for budget in BUDGETS),
    *(f'random-{budget}-{number}' for budget in BUDGETS for number in range(RANDOM)),
    *(f'narrow-{budget}' for budget in BUDGETS),
]


def build(classes: int, channels: int = CHANNELS, settings: object = 'uniform') -> nn.Module:
    """A network with random weights."""
    arch = {'embed_dim': channels, 'depth': 6, 'num_heads': HEADS}
    options = {'arch': arch, 'patch_size': 4, 'img_size': 32, 'settings': settings, 'num_classes': classes}
    return timm.create_model('ss_vit_tiny_patch16_224', **options)


def with_gates(model: nn.Module) -> SearchCost:
    """Give a network gates; its cost."""
    search_form(model)
    return SearchPlan(budget=1.0).cost_of(model)


def found(model: nn.Module, classes: int) -> nn.Module:
    """The network that the gates of a searched one mean, with its weights."""
    result = build(classes, settings=found_settings(model))
    result.load_state_dict(found_weights(model))
    return result


def search(model: nn.Module, budget: float, cost: SearchCost, seed: int, data: Data, epochs: int) -> Iterator[float]:
    """Train a network and its gates."""
    own, steps = list(gates(model).values()), itertools.count()
    for gate in own:
        gate.requires_grad_(False)
    groups = param_groups_weight_decay(model, 0.05)
    for gate in own:
        gate.requires_grad_(True)
    groups.append({'params': own, 'weight_decay': 0.0, 'lr_scale': GATE_RATE / LATE})

    def loss_of(logits: torch.Tensor, classes: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        pull = PULL * (budget - cost.total() / cost.dense).square().float()
        return F.cross_entropy(logits, classes) + pull

    def draw(*_: object) -> None:
        if model.training:
            draw_gates(model, 10**6 * seed + next(steps))

    model.register_forward_pre_hook(draw)
    generator = torch.Generator().manual_seed(seed)
    yield from train(model, data, epochs * [LATE], generator, loss_of, groups=groups)


def draw_network(model: nn.Module, budget: float, cost: SearchCost, generator: torch.Generator) -> None:
    """Set gates to mixers drawn evenly, not all without attention, and to widths that meet a budget together."""

    def rand(count: int) -> torch.Tensor:
        return torch.rand(count, generator=generator)

    blocks = model.all_blocks()
    while True:
        for choice, block in zip((rand(len(blocks)) * len(CHOICES)).long(), blocks, strict=True):
            on = torch.arange(len(CHOICES) - 1) < choice
            block.attn.kernel_thresholds.data = START * (2 * on - 1)
        if all(block.attn.choice != 'attention' for block in blocks):
            continue  # its class token would see no patch
        shares, orders = 0.2 + 0.8 * rand(len(blocks)), [rand(block.mlp.hidden).argsort() for block in blocks]
        least, most = 0.0, 5.0
        for _ in range(30):
            factor = (least + most) / 2
            for share, order, block in zip(shares, orders, blocks, strict=True):
                width = max(1, round(min(1.0, factor * share.item()) * len(order)))
                block.mlp.ffn_thresholds.data = START * (2 * (order < width) - 1)
            above = cost.total().item() > budget * cost.dense
            least, most = (least, factor) if above else (factor, most)
        if abs(cost.total().item() / cost.dense - budget) < 0.005:
            return


def narrowed(classes: int, budget: float, dense: int) -> tuple[nn.Module, float]:
    """A network with fewer channels, from random weights, and its cost."""
    costs = {}
    for channels in range(HEADS, CHANNELS, HEADS):
        costs[channels] = with_gates(build(classes, channels)).dense
    channels = min(costs, key=lambda channels: abs(costs[channels] - budget * dense))
    return build(classes, channels), costs[channels] / dense


def trained(folder: Path, seed: int, data: Data, classes: int, epochs: int) -> nn.Module:
    """The trained dense network of a seed."""
    file = folder / f'dense-{seed}.pth'
    torch.manual_seed(seed)
    model = build(classes)
    if not file.exists():
        for _ in train(model, data, epochs * [RATE], torch.Generator().manual_seed(seed)):
            pass
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file))
    return model


def run(way: str, seed: int, epochs: int, data: Data, folder: Path) -> dict[str, object]:
    """The row of one network."""
    classes, start = len(data['val'][1].unique()), time.perf_counter()
    kind, _, rest = way.partition('-')
    budget, _, number = rest.partition('-')
    model = trained(folder, seed, data, classes, 3 * epochs)
    gated = copy.deepcopy(model)
    cost = with_gates(gated)
    share, rates = 1.0, 2 * epochs * [LATE]
    torch.manual_seed(seed)
    if kind == 'narrow':
        model, share = narrowed(classes, float(budget), cost.dense)
        rates = 3 * epochs * [RATE] + rates
    elif kind != 'dense':
        if kind == 'searched':
            for _ in search(gated, float(budget), cost, seed, data, epochs):
                pass
            rates = epochs * [LATE]
        else:
            draw_network(gated, float(budget), cost, torch.Generator().manual_seed(1000 * seed + int(number)))
        share, model = cost.total().item() / cost.dense, found(gated, classes)
    before = top1(model, data)
    for _ in train(model, data, rates, torch.Generator().manual_seed(seed)):
        pass
    mixers = ' '.join(setting.mixer for setting in model.settings)
    hidden = ' '.join(str(block.mlp.hidden) for block in model.all_blocks())
    count = sum(p.numel() for p in model.parameters())
    seconds = f'{time.perf_counter() - start:.0f}'
    figures = f'{share:.3f}', f'{before:.2f}', f'{top1(model, data):.2f}', count, mixers, hidden, seconds
    return dict(zip(FIELDS, (way, seed, *figures), strict=True))


def main() -> None:
    """Run what OUT.csv does not have yet."""
    arguments = parse(__doc__, [], WAYS, [0, 1], epochs=3, images=10_000)
    ss_backbones.register()
    data = some(read(arguments.data), arguments.images)
    for seed in arguments.seeds:
        for way in arguments.ways:
            done = [(row['way'], row['seed']) for row in rows_of(arguments.out)]
            if (way, str(seed)) not in done:
                append(arguments.out, [run(way, seed, arguments.epochs, data, arguments.out.parent)])


if __name__ == '__main__':
    main()
