"""What goes into the folder of a probe: the report, the numbers and the pictures."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from . import wording
from .channel_pictures import one_against_other, weights_by_channel
from .depth_pictures import distance_maps, statistics_by_depth
from .drawing import GL1, GL2, drawn_alike
from .observations import DEPTHS, ORDER, between_blocks, between_layers, sentences, shown, steep
from .page import definitions, figure, folded, heading, number_table, page, paragraph, word_table
from .record import BlockStatistics, Record, as_json
from .statistics import Floats
from .training_picture import over_training

RECORD, REPORT = 'probe.json', 'report.html'


def contents(
    record: Record, kinds: Sequence[str], weights: Mapping[str, tuple[Floats, Floats]], has_conv: bool
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files of the folder by name, the report last, and the observations by question.

    Args:
        record: The numbers.
        kinds: Which weights each snapshot's are, in words.
        weights: Of GL1 and GL2 in the trained network, (H,) each, by block.
        has_conv: Whether the MLPs have a depthwise convolution.
    """
    blocks = record.last.blocks
    gl1, gl2 = ({name: pair[i] for name, pair in weights.items()} for i in (0, 1))
    distances = {'GL1': between_blocks(list(gl1.values())), 'GL2': between_blocks(list(gl2.values()))}
    layers = between_layers(weights)
    observed = sentences(blocks, distances['GL1'], distances['GL2'], layers)
    with drawn_alike():
        pictures = {
            'gl1_weights.png': weights_by_channel(gl1, 'GL1', GL1),
            'gl2_weights.png': weights_by_channel(gl2, 'GL2', GL2),
            'statistics.png': statistics_by_depth(blocks),
            'gl1_gl2.png': one_against_other(weights, blocks),
        }
        if len(blocks) > 1:
            pictures['distances.png'] = distance_maps(list(weights), distances)
        if len(record.snapshots) > 1:
            pictures['training.png'] = over_training(record.snapshots)
    figures = {name: figure(name, picture, wording.CAPTIONS[name]) for name, picture in pictures.items()}
    parts = [
        *_probed(record, kinds),
        *_to_look_for(has_conv),
        *_observed(observed, figures.pop('distances.png', '')),
        heading('All statistics by block'),
        _table(blocks, layers),
        paragraph('Slopes beyond three standard errors are marked.', 'note'),
        heading('Pictures'),
        *figures.values(),
    ]
    if record.config is not None:
        parts += [heading('The config of the training'), folded(record.config, 'Show it')]
    report = page(f'DFC probe of {record.last.checkpoint}', parts)
    return {**pictures, RECORD: as_json(record).encode(), REPORT: report.encode()}, observed


def _probed(record: Record, kinds: Sequence[str]) -> list[str]:
    last = record.last
    groups = groupby(last.blocks, key=lambda block: (block.dim, block.hidden))
    widths = [f'{len(list(blocks))} with {dim} channels and {hidden} hidden' for (dim, hidden), blocks in groups]
    rows = [
        ('Checkpoint', f'{last.checkpoint} ({kinds[-1]})'),
        ('Epoch', _epoch(last.epoch)),
        ('Blocks', f'{len(last.blocks)}: {", ".join(widths)}'),
    ]
    parts = [heading('What was probed'), word_table((), rows)]
    if len(record.snapshots) > 1:
        listed = [
            (str(i + 1), shot.checkpoint, _epoch(shot.epoch), kind)
            for i, (shot, kind) in enumerate(zip(record.snapshots, kinds, strict=True))
        ]
        parts += [
            paragraph(
                'Earlier checkpoints of the same training were read as well. All but the picture over training '
                'is of the last.'
            ),
            word_table(('', 'checkpoint', 'epoch', 'weights'), listed),
        ]
    return parts


def _to_look_for(has_conv: bool) -> list[str]:
    notes = (wording.GATES, *[wording.CONVOLUTIONS] * has_conv, wording.SCALES)
    return [
        heading('What to look for'),
        paragraph(wording.INTRODUCTION),
        paragraph(wording.START),
        definitions(wording.DEFINITIONS),
        heading('What these numbers rest on', 3),
        *(paragraph(note) for note in notes),
    ]


def _observed(observed: Mapping[str, str], distances: str) -> list[str]:
    """The observations, each with what must be known to read it."""
    remarks = {DEPTHS: [paragraph(wording.CHANCE, 'note'), distances], ORDER: [paragraph(wording.ORDER, 'note')]}
    parts = [heading('Observations')]
    for question, text in observed.items():
        parts += [heading(question, 3), paragraph(text), *remarks.get(question, [])]
    return parts


def _table(blocks: Sequence[BlockStatistics], layers: Mapping[str, tuple[float, bool]]) -> str:
    of_layer = ('sparsity', 'eff. share', 'slope', 'balance', 'size')
    groups = [
        ('', ('block', 'C', 'H')),
        ('GL1', of_layer),
        ('GL2', of_layer),
        ('block', ('gate swing', 'pass-through', 'correlation', 'distance GL1, GL2')),
    ]
    rows, marked, beyond = [], set(), set(steep(blocks))
    for i, block in enumerate(blocks):
        row = [block.name, str(block.dim), str(block.hidden)]
        for name, layer in (('GL1', block.gl1), ('GL2', block.gl2)):
            if (block.name, name) in beyond:
                marked.add((i, len(row) + of_layer.index('slope')))
            slope = f'{shown(layer.slope, 3)} ± {shown(layer.slope_error, 3)}'
            row += [
                shown(layer.sparsity, 3),
                shown(layer.effective_share, 3),
                slope,
                shown(layer.balance, 3),
                f'{layer.size:#.3g}',
            ]
        row += [shown(value, 3) for value in (block.gate_swing, block.pass_through, block.correlation)]
        rows.append([*row, shown(layers[block.name][0], 3)])
    return number_table(groups, rows, marked)


def _epoch(epoch: int | None) -> str:
    return 'not in the file' if epoch is None else str(epoch)
