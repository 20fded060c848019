"""Checkpoints of one layout turned into those of another, tensor by tensor and bit by bit."""

from collections import Counter
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import torch

from ..errors import CheckpointError, OutputError
from ..networks.base import StateDict
from ..output_files import check_new
from ..version import __version__
from .activations import activations_in, with_activations
from .extraction import AVERAGE, extract, some, starts
from .files import read_checkpoint
from .identification import Identification, find_known, identify, known_keys, known_networks
from .key_maps import computed_keys, to_official_keys
from .official import hold_as_official
from .values import check_numbers, in_words, not_finite
from .writing import SAFETENSORS, write_checkpoint, write_safetensors

_OTHER_NAME = (
    'It is in the format safetensors. This package reads it as it is called; for others, such as timm, the name has '
    f'to end in {SAFETENSORS}.'
)
LAYOUTS = {'timm': '', 'official': '', 'openmmlab': 'backbone.'}  # what stands before this package's keys


@dataclass(frozen=True)
class ConversionReport:
    """What a call of :func:`convert` did.

    Args:
        source: The checkpoint that was read.
        out: The file that was written.
        layout: Its layout.
        kind: Which weights were taken: 'the average', 'the raw weights', or 'its only weights'.
        identification: The network that they are of, or the nearest one.
        tensors: How many tensors were written.
        left_out: What the checkpoint held beside them, in words.
        notes: What else there is to know of the file.
    """

    source: str
    out: str
    layout: str
    kind: str
    identification: Identification
    tensors: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        report, network = self.identification.report, str(self.identification)
        if not self.identification.fits:
            network = f'of no network that is known here; the nearest is {network}'
        total = len(report.matched) + len(report.missing) + len(report.differences)
        lines = [f'{self.source}: {self.kind}, {network}: {len(report.matched)} of {total} tensors match']
        for title, names in (
            ('missing', report.missing),
            ('of another shape or ramp', report.wrong_shape),
            ('more than it has, kept', report.unexpected),
            ('left out', self.left_out),
        ):
            if names:
                lines.append(f'  {title}: {some(names)}')
        return '\n'.join((*lines, f'{self.out}: {self.tensors} tensors, layout {self.layout}', *self.notes))


def convert(
    source: str | PathLike[str],
    out: str | PathLike[str],
    layout: str,
    *,
    average: bool | None = None,
    safetensors: bool = False,
) -> ConversionReport:
    """Write a checkpoint of any known layout as a new file of another; every tensor keeps its values and dtype.

    One thing the official code has no place for: ramps in biases (``ramp='bias'`` and ``'none'``). In the layout
    'official' they are taken out of these and stand in ``mlp.pos_bias``; the network computes the same.

    Args:
        source: A file (.pth, .pt, .safetensors) or an http(s) address.
        out: The new file, in a folder that exists.
        layout: 'timm' (a state dict), 'official' (a state dict under 'model') or 'openmmlab' (the keys under
            'backbone.', the head's too, in a 'state_dict' with a 'meta' beside it).
        average: True wants averaged weights, False raw ones; None takes the average where there is one. A set of
            weights without another beside it passes for raw ones.
        safetensors: Write the tensors alone, with the layout's keys, in the format safetensors. This package knows it
            under any name; others, timm among them, by the suffix .safetensors.

    Raises:
        CheckpointError: The source cannot be read, holds none of the weights that are wanted, or no tensor of this
            package's networks; or a tensor is none in ordinary memory, or of whole or complex numbers in the place of a
            weight. Weights that are not finite are converted, and the report says so.
        OutputError: ``out`` exists, lies in no folder, cannot be written, or is called .safetensors without being
            that. No file is written then.
        ValueError: The layout is unknown.
    """
    if layout not in LAYOUTS:
        raise ValueError(f'layout={layout!r} is unknown. Known are {", ".join(LAYOUTS)}.')
    name, out = fspath(source), Path(out)
    _check_out(name, out, safetensors)
    extracted = extract(read_checkpoint(name), name, average=average is not False)
    if average and extracted.kind != AVERAGE:
        raise CheckpointError(
            f'{name} has no averaged (EMA) weights beside its raw ones, and does not call those it has an average. '
            'To take them as they are, do not ask for the average.'
        )
    weights, outside = _weights(extracted.tensors, name)
    identification = identify(weights, name)
    check_numbers(weights, identification.network.state, name, finite=False)
    about = {'format': 'pt', 'layout': layout, 'weights': extracted.kind, 'ss_backbones': __version__}
    if identification.fits:
        about |= {'network': identification.network.name, 'settings': identification.network.settings}
        if identification.network.mlp:
            about['mlp'] = identification.network.mlp
        if identification.network.fused:
            about['fused'] = 'True'
    broken = not_finite(weights.items())
    activations, notes = activations_in(weights), ()
    if layout == 'official':
        notes = hold_as_official(weights, identification.network.ramps)
        weights = to_official_keys(weights)
    if broken:
        notes = (*notes, f'NOT FINITE: {in_words(broken)}. Networks refuse them, unless partial=True is passed.')
    start = LAYOUTS[layout]
    tensors = with_activations({start + key: value for key, value in weights.items()}, activations, start)
    if safetensors:
        write_safetensors(tensors, about, out)
    elif layout == 'openmmlab':
        write_checkpoint({'meta': about, 'state_dict': tensors}, out)
    else:
        write_checkpoint({'model': tensors} if layout == 'official' else tensors, out)
    left_out = (*extracted.left_out, *outside)
    if safetensors and out.suffix != SAFETENSORS:
        notes = (*notes, _OTHER_NAME)
    return ConversionReport(name, str(out), layout, extracted.kind, identification, len(tensors), left_out, notes)


def _check_out(name: str, out: Path, safetensors: bool) -> None:
    if Path(name).resolve() == out.resolve():
        raise OutputError(f'{out} is the checkpoint itself. Give another name for the new file.')
    if not safetensors and out.suffix.lower() == SAFETENSORS:
        raise OutputError(
            f'{out} has the suffix of safetensors. Ask for that format with --safetensors '
            f'(safetensors=True), or call it {out.stem}.pth.'
        )
    check_new(out)


def _weights(tensors: StateDict, name: str) -> tuple[StateDict, list[str]]:
    """The network's weights in this package's keys, each in its own memory; and what stands outside the network."""
    prefix, weights = find_known(tensors)
    if not weights.keys() & known_keys():
        raise CheckpointError(
            f'{name} has no tensor of a network of this package; its keys start with {starts(tensors)}. Known '
            f'are {some(dict.fromkeys(network.name for network in known_networks()))}, with all their settings.'
        )
    inside = {key: value for key, value in tensors.items() if key.startswith(prefix)}
    computed = [key for key in inside if key.endswith(computed_keys())]
    if sum(inside[k].numel() for k in inside.keys() - computed) != sum(value.numel() for value in weights.values()):
        raise CheckpointError(
            f'{name} mixes layouts: several of its tensors have the same key in this package, and all but one would '
            'be lost. Give a checkpoint of one network.'
        )
    parent = prefix[: prefix.rstrip('.').rfind('.') + 1]
    parts = Counter(key.removeprefix(parent).split('.')[0] for key in tensors if not key.startswith(prefix))
    outside = [f'{part} ({count} tensor{"s" * (count > 1)})' for part, count in parts.items()]
    if computed:
        outside.append(f'{len(computed)} buffers that follow from the sizes, such as {computed[0]}')
    own = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in weights.items()}
    return with_activations(own, activations_in(tensors, prefix)), outside
