"""A trained detector or segmenter that takes image files, whatever config of mmdet or mmseg it is from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..checkpoints.files import read_checkpoint, reason
from ..checkpoints.values import check_memory, check_numbers
from ..errors import CheckpointError, UsageError
from .configs import require_library
from .test_data import image_steps, metainfo_of_test_set

# what a config's parts raise when they are built with arguments that they do not have, or run on what they cannot take
MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class Inference:
    """The model of a config with the weights of a checkpoint.

    Attributes:
        config: The config, with its library as the default scope.
        library: 'mmdet' or 'mmseg'.
        model: The model, in evaluation mode.
        metainfo: Class names and palette ('classes', 'palette') that the checkpoint or else the config knows.

    Args:
        name: What the user called the config, for errors.
        config: What it holds.
        checkpoint: The weights.
        device: Where the model runs, as torch names it.

    Raises:
        UsageError: The config is of no library, or cannot be built, or there is no such device.
        CheckpointError: The checkpoint cannot be read, or is of another model.
    """

    def __init__(self, name: str, config: Config, checkpoint: str, device: str) -> None:
        self.name, self.config = name, config
        self.library = require_library(name, config)
        where = _find_device(device)
        content = read_checkpoint(checkpoint)  # before anything is built, for its words about a damaged one
        init_default_scope(self.library)
        self.metainfo = _merged(metainfo_of_test_set(config), _metainfo_of_training(content.get('meta')))
        steps = image_steps(name, config)
        try:
            self._pipeline = Compose(steps)
            self.model = _load_model(config, content, checkpoint).to(where).eval()
        except MISFITS as error:
            if isinstance(error, CheckpointError):
                raise
            raise UsageError(f'The model of {name} cannot be built: {_words(error)}') from error

    def __call__(self, path: str) -> BaseDataElement:
        """What the model predicts for the image in a file, in that image's own pixels.

        Raises:
            UsageError: The test pipeline or the model wants more than an image, or more memory.
        """
        try:
            packed = self._pipeline({'img_path': path, 'img_id': 0})
            batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
            with torch.no_grad():
                return self.model.test_step(batch)[0]
        except (*MISFITS, RuntimeError) as error:
            raise UsageError(f'The model of {self.name} cannot be run on the image {path}: {_words(error)}') from error


def _words(error: Exception) -> str:
    return f'{type(error).__name__}: {str(error).strip()[:300]}'


def _find_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # meta, which holds no numbers, fails too
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise UsageError(
            f'--device {name}: there is no such device here ({reason(error)}). Leave it out for the CPU; '
            'the first GPU is cuda.'
        ) from error
    return device


def _metainfo_of_training(meta: object) -> dict[str, Any]:
    """What mmengine's checkpoints say of the classes that they were trained for; versions before it had capitals."""
    if not isinstance(meta, Mapping):
        return {}
    known = meta.get('dataset_meta') or {key: meta[key] for key in ('CLASSES', 'PALETTE') if meta.get(key)}
    return {key.lower(): value for key, value in known.items()}


def _merged(of_config: Mapping[str, Any], of_training: Mapping[str, Any]) -> dict[str, Any]:
    """The classes that a model was trained for, with the palette of whichever names them.

    The config's is the one to believe where both do, as mmseg makes one up for training where there is none.
    """
    classes = of_training.get('classes') or of_config.get('classes') or ()
    owner = of_config if list(of_config.get('classes') or ()) == list(classes) else of_training
    return {'classes': classes, 'palette': owner.get('palette')}


def _load_model(config: Config, content: Mapping[str, Any], checkpoint: str) -> nn.Module:
    """The model with its weights; the libraries' own loading forgives any mismatch."""
    given = content.get('state_dict', content)
    weights = OrderedDict((key.removeprefix('module.'), value) for key, value in given.items())
    weights._metadata = getattr(given, '_metadata', {})  # which holds the activations
    tensors = {key: value for key, value in weights.items() if isinstance(value, Tensor)}
    check_memory(tensors, checkpoint)
    if 'init_cfg' in config.model.get('backbone', {}):
        config.model.backbone.init_cfg = None
    model = revert_sync_batchnorm(MODELS.build(config.model))
    check_numbers(tensors, model.state_dict(), checkpoint, finite=True)
    try:
        load_state_dict(model, weights, strict=True, logger='silent')
    except RuntimeError as error:
        raise CheckpointError(
            f'{checkpoint} holds the weights of another model than the one in {config.filename}: '
            f'{_first_mismatch(error)}.\nGive the config that the checkpoint was trained with; '
            'training leaves a copy of it in its work_dir.'
        ) from error
    return model


def _first_mismatch(error: RuntimeError) -> str:
    """The first of the hundreds of names that torch and mmengine list."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 else lines[0]
    return text.split(', ')[0] if 'key' in text.split(':')[0] else text.rstrip('.')
