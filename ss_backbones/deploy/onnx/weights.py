"""The weights of what is to be exported, and advice where they do not fit."""

from collections.abc import Mapping, Sequence

from torch import nn

from ...checkpoints.extraction import extract
from ...checkpoints.files import read_checkpoint
from ...checkpoints.identification import find_known, identify
from ...checkpoints.loading import load_weights
from ...checkpoints.matching import HEAD, LoadReport
from ...errors import ExportError, MismatchError


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
        MismatchError: The weights are of another network.
        CheckpointError: The weights cannot be read.
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
    except MismatchError as error:
        raise MismatchError(error.report, error.problem, _what_it_is(checkpoint, name)) from error
    if report.not_loaded:
        raise ExportError(
            f'{checkpoint} has not all weights of what would be exported, and the rest would be random.\n{report}'
            + _about_head(report)
        )
    return (f'Weights: {report}',)


def _about_head(report: LoadReport) -> str:
    """What to do about a head, where nothing else is in the way."""
    if not all(key.startswith(HEAD) for key in report.not_loaded):
        return ''
    if not report.differences:
        return (
            '\nIt has no head. Give --features for the maps, which need none, or the config of the detector or '
            'segmenter that it is of; for logits give a checkpoint of the whole classifier.'
        )
    for difference in report.differences:
        (classes, *width), (_, *own_width) = difference.theirs, difference.ours
        if difference.key == 'head.weight' and width == own_width:
            return f'\nIts head has {classes} classes: give --num-classes {classes}'
    return ''


def _what_it_is(checkpoint: str, name: str | None) -> str:
    """Which known network a checkpoint is of, if it is of one, and how a user who gave a timm name gets it."""
    tensors = extract(read_checkpoint(checkpoint), checkpoint, average=True).tensors
    found = identify(find_known(tensors)[1], checkpoint)
    if not found.fits:
        return ''
    text = f'It is one of {found}'
    if name is None or found.network.mlp or found.linear:
        return f'{text}.'
    settings = f' --settings {found.network.settings}'
    return f'{text}: give{settings}' if found.network.name == name else f'{text}: give {found.network.name}{settings}'
