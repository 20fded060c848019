"""What a probe found, as numbers: the JSON file that ``probe`` writes and ``derive-settings`` reads."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import get_args

from ..errors import ProbeError

_FORMAT = 'ss_backbones probe 2'
_LARGEST = 1e100  # which is no number of a probe
_WORDS = {float: 'a finite number', int: 'a whole number', str: 'a text'}


@dataclass(frozen=True)
class LayerStatistics:
    """How the weights w of one grouped linear layer are spread over its H hidden channels.

    Args:
        sparsity: Hoyer's, (sqrt(H) - |w|_1 / |w|_2) / (sqrt(H) - 1): 0 where all have one size, 1 where one
            is not 0, or none.
        effective_share: Share of the channels that matter, (sum w^2)^2 / (H sum w^4): 1 where all have one size, 1 / H
            where one is not 0, or none.
        slope: How much w rises from the first channel to the last, by least squares, in units of the mean of ``|w|``: 2
            for a straight line that starts at 0.
        slope_error: The standard error of that slope.
        balance: sum w / sum ``|w|``: 1 where all are positive, -1 where all are negative.
        size: Root of the mean of w^2.
        share_error: The standard error of the effective share.
    """

    sparsity: float
    effective_share: float
    slope: float
    slope_error: float
    balance: float
    size: float
    share_error: float = 0.0


@dataclass(frozen=True)
class BlockStatistics:
    """One block.

    Args:
        name: Its place in the network, such as 'blocks.3' or 'stages.1.blocks.0'.
        dim: Channels C.
        hidden: Hidden channels H.
        gl1: The first grouped linear layer, which the gates are made from.
        gl2: The second, which makes the output of the gated channels.
        gate_swing: Share of the gates' mean square that varies from token to token, in [0, 1]; mean over the channels.
        pass_through: Share of the hidden channels whose gate is nearly a constant, so that they go through unchanged.
        correlation: Pearson's correlation of ``|w|`` of gl1 and gl2 over the channels.
        swing_error: The standard error of the gate swing.
    """

    name: str
    dim: int
    hidden: int
    gl1: LayerStatistics
    gl2: LayerStatistics
    gate_swing: float
    pass_through: float
    correlation: float
    swing_error: float = 0.0


@dataclass(frozen=True)
class Snapshot:
    """The network at one time of its training.

    Args:
        checkpoint: The file's name.
        epoch: Epochs done, or None where the file does not say.
        blocks: In the order of depth.
    """

    checkpoint: str
    epoch: int | None
    blocks: tuple[BlockStatistics, ...]


@dataclass(frozen=True)
class Record:
    """A probed training.

    Args:
        config: The text of the config that the network was trained with, or None where the checkpoint has none.
        snapshots: In the order of time, one or more, of one network.
    """

    config: str | None
    snapshots: tuple[Snapshot, ...]

    @property
    def last(self) -> Snapshot:
        """The trained network."""
        return self.snapshots[-1]


def as_json(record: Record) -> str:
    """The content of a probe's JSON file."""
    return json.dumps({'format': _FORMAT, **asdict(record)}, indent=1, allow_nan=False) + '\n'


def read_record(path: Path) -> Record:
    """Read a probe's JSON file.

    Raises:
        ProbeError: It is missing, not JSON, not a probe's, of another version, lacks something, or has numbers that
            are none.
    """
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ProbeError(f'{path} does not exist. Give the probe.json that ss-backbones probe wrote.') from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ProbeError(
            f'{path} cannot be read as JSON ({error}). Give the probe.json that ss-backbones probe wrote.'
        ) from error
    found = data.pop('format', None) if isinstance(data, dict) else None
    if found != _FORMAT:
        raise ProbeError(
            f"{path} is no file of this version's ss-backbones probe: its format is {found!r}, not {_FORMAT!r}."
        )
    try:
        return _decoded(Record, data, '')
    except ValueError as error:
        raise ProbeError(f'{path}: {error}. Probe again.') from error


def _decoded(kind: type | UnionType, data: object, where: str) -> object:
    """JSON's data as a value of a field's type; raises ValueError where it is none."""
    if is_dataclass(kind):
        types = {field.name: field.type for field in fields(kind)}
        given = set(data) if isinstance(data, Mapping) else set()
        if given != set(types):
            lost, more = sorted(set(types) - given), sorted(given - set(types))
            raise ValueError(f'{where or "it"} lacks {lost} and has {more} more than a probe')
        return kind(**{name: _decoded(types[name], data[name], f'{where}.{name}'.lstrip('.')) for name in types})
    allowed = get_args(kind)
    if Ellipsis in allowed:
        if not isinstance(data, list) or not data:
            raise ValueError(f'{where} must be a list and not be empty')
        return tuple(_decoded(allowed[0], item, f'{where}[{i}]') for i, item in enumerate(data))
    if data is None and type(None) in allowed:
        return None
    kind = allowed[0] if allowed else kind
    right = isinstance(data, int | float if kind is float else kind) and not isinstance(data, bool)
    if not right or (kind is not str and not abs(data) <= _LARGEST):
        raise ValueError(f'{where} is {data!r}, and must be {_WORDS[kind]}')
    return data
