"""CIFAR-10 in memory, and the one recipe that the experiments train with.

AdamW at a constant learning rate, weight decay 0.05 but for norms and biases, batches of 128, shifts by up to 4 pixels
and flips.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.datasets import ImageFolder

NETWORKS = {'ss_pvt_v2_b0': {}, 'ss_pvt_v2_b2': {}, 'ss_vit_tiny_patch16_224': {'img_size': 32}}
MEAN, STD = torch.tensor(timm.data.IMAGENET_DEFAULT_MEAN), torch.tensor(timm.data.IMAGENET_DEFAULT_STD)
BATCH, RATE = 128, 1e-3
Data = dict[str, tuple[Tensor, Tensor]]


def read(folder: Path) -> Data:
    """The images (N, 3, 32, 32), normalised, and the classes (N,) of train/ and val/."""
    return {part: _read(folder / part) for part in ('train', 'val')}


def _read(folder: Path) -> tuple[Tensor, Tensor]:
    found = ImageFolder(folder)
    images = torch.from_numpy(np.stack([np.asarray(image) for image, _ in found]))
    return ((images / 255 - MEAN) / STD).permute(0, 3, 1, 2).contiguous(), torch.tensor(found.targets)


def some(data: Data, images: int) -> Data:
    """With so many of the training images, evenly over the classes."""
    few = torch.linspace(0, len(data['train'][0]) - 1, min(images, len(data['train'][0]))).long()
    return {'train': tuple(part[few] for part in data['train']), 'val': data['val']}


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 4 pixels, and flip every other image on average."""
    count, _, height, width = images.shape
    dy, dx = torch.randint(0, 9, (2, count), generator=generator)
    rows = (dy[:, None] + torch.arange(height))[:, :, None]
    columns = torch.arange(width).expand(count, -1)
    columns = torch.where(torch.rand(count, 1, generator=generator) < 0.5, columns, columns.flip(1))
    columns = (dx[:, None] + columns)[:, None, :]
    pixels = F.pad(images, (4, 4, 4, 4)).permute(0, 2, 3, 1)
    return pixels[torch.arange(count)[:, None, None], rows, columns].permute(0, 3, 1, 2)


def train(
    model: nn.Module,
    data: Data,
    rates: list[float],
    generator: torch.Generator,
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda logits, classes, inputs: F.cross_entropy(
        logits, classes
    ),
    seconds: float = math.inf,
    groups: Sequence[dict] = (),
) -> Iterator[float]:
    """Train, with a learning rate for each epoch.

    Args:
        model: On any device.
        data: See :func:`read`.
        rates: Learning rates.
        generator: Of the order of the images and of what is done to them.
        loss_of: The loss of logits, classes and images.
        seconds: After the epoch in which so many have passed it ends.
        groups: Parameters for the optimiser, with ``lr_scale`` for a factor on the rates; none for all of the model.

    Yields:
        The mean loss of every epoch; the model is in training mode then.
    """
    device = next(model.parameters()).device
    images, labels = data['train']
    optimizer = create_optimizer_v2(list(groups) or model, opt='adamw', lr=RATE, weight_decay=0.05)
    end = time.monotonic() + seconds
    for rate in rates:
        if time.monotonic() > end:
            return
        for group in optimizer.param_groups:
            group['lr'] = rate * group.get('lr_scale', 1.0)
        model.train()
        total = torch.zeros((), device=device)
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            inputs = augment(images[batch], generator).to(device)
            loss = loss_of(model(inputs), labels[batch].to(device), inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        yield total.item() / len(images)


@torch.inference_mode()
def top1(model: nn.Module, data: Data) -> float:
    """Of the held-out images, in percent; the model is in evaluation mode afterwards."""
    model.eval()
    device = next(model.parameters()).device
    right = sum(
        (model(x.to(device)).argmax(1).cpu() == y).sum().item()
        for x, y in zip(*(part.split(500) for part in data['val']), strict=True)
    )
    return 100 * right / len(data['val'][1])


def parse(
    description: str,
    networks: Sequence[str],
    ways: Sequence[str],
    seeds: Sequence[int],
    epochs: int = 10,
    images: int | None = None,
) -> argparse.Namespace:
    """The command line of an experiment, with these for what it does not say; one without images takes all."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path)
    parser.add_argument('out', type=Path)
    if networks:
        parser.add_argument('--networks', nargs='+', choices=NETWORKS, default=networks)
    if images:
        parser.add_argument('--images', type=int, default=images, help='of the training, for each epoch')
    parser.add_argument('--ways', nargs='+', choices=ways, default=ways)
    parser.add_argument('--seeds', nargs='+', type=int, default=seeds)
    parser.add_argument('--epochs', type=int, default=epochs)
    parser.add_argument('--seconds', type=float, default=math.inf, help='a run ends with the epoch that reaches them')
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()
