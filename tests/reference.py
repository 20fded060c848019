"""The outputs of the official models, where they are on this machine, and the weights that they were made with."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[2] / 'shared' / 'reference'
needs_reference = pytest.mark.skipif(
    not FOLDER.is_dir(), reason='the outputs of the official models are not on this machine'
)


def keys_and_shapes(name: str) -> dict[str, list[int]]:
    """The state dict of an official model."""
    return json.loads((FOLDER / f'{name}.json').read_text())['state_dict']


def weights(name: str, model: nn.Module) -> dict[str, Tensor]:
    """The weights of an official model; the recipes stand in the references' own READMEs. Ramps are the model's own."""
    made = {}
    for key, shape in keys_and_shapes(name).items():
        z = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF).standard_normal(shape)
        last = key.split('.')[-1]
        if last == 'pos_bias':
            made[key] = model.state_dict()[key]
        elif last in ('num_batches_tracked', 'relative_position_index', 'attn_mask', 'assigned_indicator_index'):
            made[key] = torch.zeros(shape)  # no output depends on them
        elif last.startswith('kernel_thresholds'):
            made[key] = torch.from_numpy(0.5 + 1.5 * z)
        elif last == 'ffn_thresholds':
            made[key] = torch.from_numpy(1.5 + 1.5 * z)
        elif last == 'head_probs':
            made[key] = torch.from_numpy(1 + 0.1 * z)
        elif last == 'running_var':
            made[key] = torch.from_numpy(1 + 0.1 * np.abs(z))
        elif last == 'weight':
            made[key] = torch.from_numpy(z / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 1 + 0.1 * z)
        else:
            made[key] = torch.from_numpy(0.1 * z)
    return made


def cases(name: str) -> Iterator[tuple[Tensor, np.ndarray, list[tuple[list[int], np.ndarray, np.ndarray]]]]:
    """For each size: the image, the logits, and for each feature its shape, some indices into it and the values."""
    about = json.loads((FOLDER / f'{name}.json').read_text())
    with np.load(FOLDER / f'{name}.npz') as arrays:
        for case in about['cases']:
            height, width = case['input'][2:]
            image = np.random.RandomState(height * 10000 + width).standard_normal(case['input'])
            size = f'{height}x{width}'
            features = [
                (feature['shape'], arrays[f'{size}.feat{i}.index'], arrays[f'{size}.feat{i}.value'])
                for i, feature in enumerate(case['features'])
            ]
            yield torch.from_numpy(image), arrays[case['logits']], features


def check(ours: Tensor, shape: list[int], index: np.ndarray, value: np.ndarray) -> None:
    """A feature against the stored entries of the official one."""
    assert list(ours.shape) == shape
    np.testing.assert_allclose(ours.flatten()[torch.from_numpy(index)].numpy(), value, rtol=1e-9, atol=1e-11)


def choices_of_spvit(name: str) -> tuple[list[str], list[int]]:
    """The mixer and the hidden width of every block of a network that SPViT has found."""
    about = json.loads((FOLDER.parent / 'facts' / 'spvit_archs.json').read_text())[name]
    words = {'msa': 'attention', '1x1': 'conv1x1', '3x3': 'conv3x3', 'skip': 'skip'}
    flat = [choices if about['family'] == 'deit' else sum(choices, []) for choices in (about['msa'], about['ffn_kept'])]
    return [words[choice] for choice in flat[0]], flat[1]
