"""The trained network that a target inherits from: its weights, its settings, its classes."""

from __future__ import annotations

from collections.abc import Mapping

import timm
import torch
from torch import Tensor, nn

from ..checkpoints.extraction import extract
from ..checkpoints.files import read_checkpoint, reason
from ..checkpoints.matching import HEAD, LoadReport, match
from ..errors import CheckpointError, MismatchError, UsageError
from .models import Model

FROM_TIMM = 'timm:'
_KINDS = ('uniform', 'specific')  # which settings a source may have, the likely ones first


def read_source(source: str) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint of any known layout, averaged ones preferred.

    Args:
        source: A file, an http(s) address, or 'timm:NAME' for the weights that timm downloads.

    Raises:
        CheckpointError: It cannot be read.
    """
    if source.startswith(FROM_TIMM):
        return _download(source)
    return extract(read_checkpoint(source), source, average=True).tensors


def _download(source: str) -> Mapping[str, Tensor]:
    name = source.removeprefix(FROM_TIMM)
    if not timm.is_model(name):
        near = timm.list_models(f'{name.split("_")[0]}*')[:3] or ['pvt_v2_b0', 'deit_tiny_patch16_224']
        raise CheckpointError(f'{source}: timm has no model {name}; there are {", ".join(near)} and others.')
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:  # no internet, or timm knows no weights for it
        raise CheckpointError(
            f'{source} cannot be downloaded: {reason(error)}. Copy its weights to this machine and give the file.'
        ) from error


def build_source(weights: Mapping[str, Tensor], source: str, model: Model) -> tuple[nn.Module, LoadReport]:
    """The network that the weights are of, with them; it differs from the model's in the settings alone.

    Args:
        weights: What :func:`read_source` gave.
        source: Its name, for errors and the report.
        model: What inherits.

    Raises:
        CheckpointError: They are of a network of another class or arch, not complete, or not finite.
    """
    found, first = None, None
    for settings in _KINDS:
        try:
            with torch.device('meta'):
                network = model.build(settings, None)
            found = match(weights, network, source=source).report
            break
        except MismatchError as error:
            first = first or MismatchError(error.report, error.problem)
        except UsageError:  # a network with these settings there is not
            if first is None:
                raise
    if found is None:
        raise first
    classes = _classes(found, weights)
    dtype = torch.float64 if any(value.dtype == torch.float64 for value in weights.values()) else torch.float32
    network = model.build(settings, classes).to(dtype)
    loaded = match({key: value.to(dtype) for key, value in weights.items()}, network, source=source)
    lacking = loaded.report.missing + loaded.report.wrong_shape
    if lacking:
        raise CheckpointError(f'{source} is not complete, {len(lacking)} tensors are missing.\n{loaded.report}')
    network.load_state_dict(loaded.tensors, strict=False)
    return network.eval(), loaded.report


def _classes(report: LoadReport, weights: Mapping[str, Tensor]) -> int | None:
    """How many classes the source has; None where the model has no head, or as many."""
    if any(key.startswith(HEAD) for key in report.missing):
        return 0
    return next((d.theirs[0] for d in report.differences if d.key == f'{HEAD}weight'), None)
