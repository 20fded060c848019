"""mmengine's init_cfg for pretrained weights, through this package's own loader."""

import logging
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import nn

from ..checkpoints.loading import load_weights
from ..errors import CheckpointError

_KEYS = ('checkpoint', 'prefix', 'use_ema', 'partial')


def is_pretrained(cfg: Mapping[str, object]) -> bool:
    """Whether an init_cfg asks for pretrained weights."""
    kind = cfg.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rsplit('.', 1)[-1] in ('Pretrained', 'PretrainedInit')  # a scope such as mmengine. may stand before it


def load_pretrained(module: nn.Module, cfg: Mapping[str, object], where: str) -> None:
    """Load what ``dict(type='Pretrained', checkpoint=FILE, ...)`` names, and log what matched.

    Args:
        module: What the weights are for.
        cfg: The init_cfg; ``prefix``, ``use_ema`` and ``partial`` are those of :func:`~ss_backbones.load_weights`.
        where: The init_cfg's place in a config, for the words of an error.

    Raises:
        CheckpointError: The checkpoint is not given, cannot be read, or does not fit, or a key is unknown.
    """
    name, options = type(module).__name__, {key: value for key, value in cfg.items() if key != 'type'}
    options.pop('map_location', None)  # weights are read to the CPU and copied where the parameters are
    unknown = sorted(set(options) - set(_KEYS))
    if unknown:
        raise CheckpointError(f'{name}: init_cfg has unknown keys {unknown}; known are type, {", ".join(_KEYS)}.')
    checkpoint = options.pop('checkpoint', None)
    if not checkpoint:
        raise CheckpointError(
            f'{name}: init_cfg asks for pretrained weights, but its checkpoint is {checkpoint!r}. Set it in the '
            f'config or with --cfg-options {where}.checkpoint=FILE. To train from random weights on purpose, say so '
            f'with --cfg-options {where}=None.'
        )
    report = load_weights(module, checkpoint, **options)
    level = logging.INFO if report.share == 1 else logging.WARNING
    print_log(f'{name}: {report}', logger='current', level=level)
