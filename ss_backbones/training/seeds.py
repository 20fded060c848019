"""Randomness that follows from where a run is, not from how it got there.

mmengine seeds once, at the start, so a resumed run draws other numbers than an uninterrupted one. Here whatever draws
is seeded anew from the seed, the epoch and its place in the epoch: images one by one, training steps one by one. So a
run that was stopped and resumed ends as an uninterrupted one, with any number of workers.
"""

import hashlib
import random
from typing import NamedTuple

import numpy as np
import torch


class Draw(NamedTuple):
    """An image that a sampler draws: which, and the seed of its augmentation."""

    index: int
    seed: int


def seed_of(*numbers: int) -> int:
    """A seed of 32 bits for these numbers; other numbers give unrelated seeds."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest(), 'little')


def seed_image(seed: int) -> None:
    """Seed what augmentations draw from: random, numpy, and torch on the CPU (a worker must leave the GPU alone)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


def seed_step(seed: int) -> None:
    """Seed everything that a training step draws from, on every device."""
    seed_image(seed)
    torch.manual_seed(seed)
