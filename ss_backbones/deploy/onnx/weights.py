"""The weights of what is to be exported, and advice where they do not fit."""

import re
from collections.abc import Mapping, Sequence

from torch import nn

from ...checkpoints.files import CheckpointError, read_checkpoint
from ...checkpoints.loading import FOR_PROGRAMS, HEAD, LoadReport, load_weights
from ...checkpoints.identification import known_networks, recognise
from ...checkpoints.extraction import find_prefix, unwrap
from .errors import ExportError

_CLASSES = re.compile(r'head\.weight \(\((\d+), (\d+)\) in the checkpoint, \(\d+, \2\)')


def load(
    network: nn.Module,
    checkpoint: str | None,
    init_cfg: Mapping[str, object] | Sequence[Mapping[str, object]],
    name: str | None = None,
) -> tuple[str, ...]:
    """Load the weights and say what was loaded.

    Args:
        network: It takes them.
        checkpoint: Their file; None for the one that ``init_cfg`` names.
        init_cfg: The config's.
        name: The timm name that the user gave, if it was one.

    Raises:
        ExportError: Not all of the network's tensors are there.
        CheckpointError: The weights cannot be read, or are of another network.
    """
    options: dict[str, object] = {}
    if checkpoint is None:
        cfgs = [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg
        for cfg in cfgs:
            if cfg.get('checkpoint'):
                options = {key: cfg[key] for key in ('prefix', 'use_ema', 'partial') if key in cfg}
                checkpoint = cfg['checkpoint']
    if checkpoint is None:
        return ('The weights are RANDOM: no --checkpoint was given, and no init_cfg names one.',)
    try:
        report = load_weights(network, checkpoint, **options)
    except CheckpointError as error:
        text = str(error)
        if FOR_PROGRAMS not in text:  # it could not be read
            raise
        raise CheckpointError(text.replace(FOR_PROGRAMS, '') + _what_it_is(checkpoint, name)) from error
    if report.missing or report.wrong_shape or report.fresh:
        raise ExportError(
            f'{checkpoint} has not all weights of what would be exported, and the rest would be random.\n{report}'
            + _about_head(report)
        )
    return (f'Weights: {report}',)


def _about_head(report: LoadReport) -> str:
    """What to do about a head, where nothing else is in the way."""
    if not all(key.startswith(HEAD) for key in report.missing + report.wrong_shape + report.fresh):
        return ''
    if not report.wrong_shape:
        return (
            '\nIt has no head. Give --features for the maps, which need none, or the config of the detector or '
            'segmenter that it is of; for logits give a checkpoint of the whole classifier.'
        )
    classes = next(filter(None, map(_CLASSES.match, report.wrong_shape)), None)
    return f'\nIts head has {classes[1]} classes: give --num-classes {classes[1]}' if classes else ''


def _what_it_is(checkpoint: str, name: str | None) -> str:
    """Which known network a checkpoint is of, if it is of one, and how a user who gave a timm name gets it."""
    tensors = unwrap(read_checkpoint(checkpoint), checkpoint, average=True).tensors
    found = recognise(find_prefix(tensors, {key for known in known_networks() for key in known.state})[1], checkpoint)
    if not found.fits:
        return ''
    text = f'\nIt is one of {found}'
    if name is None or found.network.mlp:
        return f'{text}.'
    settings = f' --settings {found.network.settings}'
    return f'{text}: give{settings}' if found.network.name == name else f'{text}: give {found.network.name}{settings}'
