"""Train SS networks with each way to hold their ramps, beside the plain network: accuracy by epoch, and the gradients.

    python experiments/ramps.py CIFAR10 OUT.csv [--networks ...] [--ways ...] [--seeds 0 1 2] [--epochs 10]

CIFAR10 has the folders train/CLASS and val/CLASS with images of 32 x 32 pixels. A row of OUT.csv is an epoch of a run;
what is in the file already is not run again, so that a study can be stopped and continued.

Every run has the recipe of cifar.py at a learning rate of 1e-3. The plain network has ``settings='uniform'``; a ViT has
patches of 16 pixels, so 4 of them. ``ramp_share`` is the part of the squared gradient of the second linear's weights
that lies in the direction of the ramp, for 512 training images after the epoch, as the median over the blocks whose
settings have a ramp.
"""

import time
from statistics import median

import timm
import torch
from cifar import NETWORKS, RATE, Data, parse, read, top1, train
from rows import append, rows_of
from torch import Tensor, nn
from torch.nn import functional as F

import ss_backbones
from ss_backbones.layers import Mlp

WAYS = {
    'plain': {'settings': 'uniform'},
    'paper': {'ramp': 'paper'},
    'bias': {'ramp': 'bias'},
    'none': {'ramp': 'none'},
}
FIELDS = ('network', 'way', 'seed', 'epoch', 'top1', 'loss', 'ramp_share', 'seconds')


def ramp_share(model: nn.Module, ramped: list[str], images: Tensor, labels: Tensor) -> float:
    """What the gradients of the second linears in these MLPs have of the ramp's direction; see above."""
    model.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    shares = []
    for name in ramped:
        gradient = model.get_submodule(name).fc2.weight.grad
        direction = F.normalize(torch.linspace(0, 1, gradient.shape[1], device=gradient.device), dim=0)
        shares.append(((gradient @ direction).square().sum() / gradient.square().sum()).item())
    model.zero_grad()
    return median(shares)


def run(network: str, way: str, seed: int, epochs: int, data: Data, device: str, limit: float) -> list:
    """The rows of one training."""
    options = {**NETWORKS[network], 'num_classes': len(data['val'][1].unique())}
    with torch.device('meta'):
        specific = timm.create_model(network, **options)
    ramped = [name for name, part in specific.named_modules() if isinstance(part, Mlp) and part.ramp > 0]
    torch.manual_seed(seed)
    model = timm.create_model(network, **options, **WAYS[way]).to(device)
    images, labels = data['train']
    some = torch.linspace(0, len(images) - 1, 512).long()
    rows, start = [], time.perf_counter()
    trained = train(model, data, epochs * [RATE], torch.Generator().manual_seed(seed), seconds=limit)
    for epoch, loss in enumerate(trained, start=1):
        seconds, accuracy = time.perf_counter() - start, top1(model, data)
        share = ramp_share(model, ramped, images[some].to(device), labels[some].to(device))
        figures = f'{accuracy:.2f}', f'{loss:.4f}', f'{share:.4f}', f'{seconds:.0f}'
        rows.append(dict(zip(FIELDS, (network, way, seed, epoch, *figures), strict=True)))
    return rows


def main() -> None:
    """Run what OUT.csv does not have yet."""
    arguments = parse(__doc__, ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224'], list(WAYS), [0, 1, 2])
    ss_backbones.register()
    data = read(arguments.data)
    for seed in arguments.seeds:
        for network in arguments.networks:
            for way in arguments.ways:
                done = [(row['network'], row['way'], row['seed'], row['epoch']) for row in rows_of(arguments.out)]
                if (network, way, str(seed), str(arguments.epochs)) not in done:
                    rows = run(network, way, seed, arguments.epochs, data, arguments.device, arguments.seconds)
                    append(arguments.out, rows)


if __name__ == '__main__':
    main()
