"""What a probe found, as numbers: the JSON file between tools/probe.py and tools/derive_settings.py."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .errors import ProbeError

_FORMAT = 'ss_backbones probe 1'
_LARGEST = 1e100  # which is no number of a probe


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
    """

    sparsity: float
    effective_share: float
    slope: float
    slope_error: float
    balance: float
    size: float


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
    """

    name: str
    dim: int
    hidden: int
    gl1: LayerStatistics
    gl2: LayerStatistics
    gate_swing: float
    pass_through: float
    correlation: float


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
        raise ProbeError(f'{path} does not exist. Give the probe.json that tools/probe.py wrote.') from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ProbeError(f'{path} cannot be read as JSON ({error}). Give the probe.json of tools/probe.py.') from error
    found = data.get('format') if isinstance(data, Mapping) else None
    if found != _FORMAT:
        raise ProbeError(
            f"{path} is no file of this version's tools/probe.py: its format is {found!r}, not {_FORMAT!r}."
        )
    try:
        record = Record(data['config'], tuple(_snapshot(item) for item in data['snapshots']))
    except (KeyError, TypeError) as error:
        raise ProbeError(f'{path} lacks something that a probe has, or has more ({error}). Probe again.') from error
    texts = [block.name for snapshot in record.snapshots for block in snapshot.blocks]
    if not all(isinstance(text, str) for text in texts) or not isinstance(record.config, str | None):
        raise ProbeError(f'{path} has a config or a name of a block that is no text. Probe again.')
    if not record.snapshots or any(not snapshot.blocks for snapshot in record.snapshots):
        raise ProbeError(f'{path} has no blocks. Probe again.')
    for snapshot in record.snapshots:
        for block in snapshot.blocks:
            _check_numbers(block, f'{path}: {snapshot.checkpoint}: {block.name}')
    return record


def _snapshot(data: Mapping[str, object]) -> Snapshot:
    blocks = tuple(
        BlockStatistics(**{**item, 'gl1': LayerStatistics(**item['gl1']), 'gl2': LayerStatistics(**item['gl2'])})
        for item in data['blocks']
    )
    return Snapshot(**{**data, 'blocks': blocks})


def _check_numbers(block: object, where: str) -> None:
    for field in fields(block):
        value = getattr(block, field.name)
        if isinstance(value, LayerStatistics):
            _check_numbers(value, f'{where}.{field.name}')
        elif field.name == 'name':
            continue
        elif isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise ProbeError(f'{where}: {field.name} is {value!r}, and must be a finite number. Probe again.')
