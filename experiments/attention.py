"""Train small networks of one size that differ in their attention, and UFO attention with other normalisations.

    python experiments/attention.py CIFAR10 OUT.csv [--ways ...] [--seeds 0 1] [--epochs 5] [--images 20000]

CIFAR10 has the folders train/CLASS and val/CLASS with images of 32 x 32 pixels, which are enlarged to 64 x 64. All have
patches of 8 pixels, 64 channels, 4 heads and the recipe of cifar.py; 'xcit' is XCiT with 4 blocks and 2 of class
attention, 'ufo' UFO-ViT with as many and with all channels in each head's projections, and 'deit' a ViT with 6 blocks,
so that all have nearly as many parameters. The others are UFO-ViT with something else in the place of its two
normalisations: 'l2-q' and 'l2-kv' have one of them alone, 'none' neither, and 'softmax' a softmax over the same axes.

A row of OUT.csv is an epoch of a run; what is in the file already is not run again.
"""

import time

import timm
import torch
from cifar import RATE, Data, parse, read, some, top1, train
from rows import append, rows_of
from torch import Tensor, nn
from torch.nn import functional as F

import ss_backbones
from ss_backbones.layers import UfoAttention

SHAPE = {'embed_dim': 64, 'depth': 4, 'num_heads': 4}
UFO = 'ufo_vit_tiny_patch16_224'
NETWORKS = {'deit': 'ss_vit_tiny_patch16_224', 'xcit': 'ss_xcit_tiny_12_p16_224', 'ufo': UFO}
FIELDS = ('way', 'seed', 'epoch', 'top1', 'loss', 'parameters', 'seconds')


class Softmax(nn.Module):
    """In the place of an XNorm."""

    def forward(self, x: Tensor, dim: int) -> Tensor:
        """A softmax along that axis."""
        return x.softmax(dim)


class Nothing(nn.Module):
    """In the place of an XNorm."""

    def forward(self, x: Tensor, dim: int) -> Tensor:
        """The same."""
        return x


# what stands for the normalisation of Q and of K'V
NORMS = {
    'l2-q': (None, Nothing),
    'l2-kv': (Nothing, None),
    'none': (Nothing, Nothing),
    'softmax': (Softmax, Softmax),
}


def build(way: str, classes: int) -> nn.Module:
    """The network of a way."""
    options = {'arch': SHAPE, 'patch_size': 8, 'settings': 'uniform', 'num_classes': classes}
    if way == 'deit':
        options['img_size'] = 64
        options['arch'] = {**SHAPE, 'depth': 6}
    elif way != 'xcit':
        options['full_projections'] = True
    model = timm.create_model(NETWORKS.get(way, UFO), **options)
    for module in [m for m in model.modules() if isinstance(m, UfoAttention)]:
        for name, other in zip(('q_norm', 'kv_norm'), NORMS.get(way, (None, None)), strict=True):
            if other is not None:
                setattr(module, name, other())
    return model


def run(way: str, seed: int, epochs: int, data: Data, device: str, limit: float) -> list:
    """The rows of one training."""
    torch.manual_seed(seed)
    model = build(way, len(data['val'][1].unique())).to(device)
    count = sum(p.numel() for p in model.parameters())
    rows, start = [], time.perf_counter()
    trained = train(model, data, epochs * [RATE], torch.Generator().manual_seed(seed), seconds=limit)
    for epoch, loss in enumerate(trained, start=1):
        seconds = time.perf_counter() - start
        figures = f'{top1(model, data):.2f}', f'{loss:.4f}', count, f'{seconds:.0f}'
        rows.append(dict(zip(FIELDS, (way, seed, epoch, *figures), strict=True)))
    return rows


def enlarged(data: Data) -> Data:
    """64 x 64 pixels."""
    return {name: (F.interpolate(x, size=64, mode='bilinear'), y) for name, (x, y) in data.items()}


def main() -> None:
    """Run what OUT.csv does not have yet."""
    ways = [*NETWORKS, *NORMS]
    arguments = parse(__doc__, [], ways, [0, 1], epochs=5, images=20_000)
    ss_backbones.register()
    data = enlarged(some(read(arguments.data), arguments.images))
    for seed in arguments.seeds:
        for way in arguments.ways:
            done = [(row['way'], row['seed'], row['epoch']) for row in rows_of(arguments.out)]
            if (way, str(seed), str(arguments.epochs)) not in done:
                append(arguments.out, run(way, seed, arguments.epochs, data, arguments.device, arguments.seconds))


if __name__ == '__main__':
    main()
