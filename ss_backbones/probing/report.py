"""What goes into the folder of a probe: the report, the numbers and the pictures."""

from base64 import b64encode
from importlib.resources import files
from itertools import groupby

from jinja2 import Environment, StrictUndefined

from .observations import DEPTHS, LAYERS, ORDER, between_blocks, between_layers, sentences, shown, steep
from .pictures import draw
from .reading import Series
from .record import as_json

RECORD, REPORT = 'probe.json', 'report.html'


def contents(series: Series) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files of the folder by name, the report last, and the observations by question."""
    record, blocks = series.record, series.record.last.blocks
    weights = list(zip(*series.weights.values(), strict=True))
    distances = {layer: between_blocks(ones) for layer, ones in zip(('GL1', 'GL2'), weights, strict=True)}
    layers = between_layers(series.weights)
    observed = sentences(blocks, distances, layers)
    pictures = draw(series, distances)
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters['shown'] = shown
    widths = groupby(blocks, key=lambda block: (block.dim, block.hidden))
    report = jinja.from_string(files(__package__).joinpath('report.html.jinja').read_text(encoding='utf-8')).render(
        record=record,
        kinds=series.kinds,
        has_conv=series.has_conv,
        widths=[(len(list(alike)), dim, hidden) for (dim, hidden), alike in widths],
        observed=observed,
        questions=dict(depths=DEPTHS, layers=LAYERS, order=ORDER),
        distances={name: distance for name, (distance, _) in layers.items()},
        steep=steep(blocks),
        pictures={name: b64encode(picture).decode() for name, picture in pictures.items()},
    )
    return {**pictures, RECORD: as_json(record).encode(), REPORT: report.encode()}, observed
