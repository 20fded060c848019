"""A picture of a trained model's predictions beside the truth, for some images of a config's test set."""

import io
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from PIL import Image
from torch import nn

from ..checkpoints.files import read_checkpoint
from ..errors import CheckpointError, DataError, UsageError
from .configs import LIBRARIES, library_of, read_config

PANEL_SIDE = 240  # pixels of a panel's longer side, which mmdet's fixed size of text suits
GAP = 6  # pixels between panels
TITLE = 24  # pixels for a line of words, above the panels or below
COLOURS = 256  # of the picture's own palette, which makes the file a third as large


def _load_model(cfg: Config, checkpoint: str, device: str) -> nn.Module:
    """The trained model, ready for the inference of its library; that library's own loading forgives any mismatch."""
    if 'init_cfg' in cfg.model.get('backbone', {}):
        cfg.model.backbone.init_cfg = None
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    try:
        load_checkpoint(model, checkpoint, map_location='cpu', strict=True, logger='silent')
    except RuntimeError as error:
        raise CheckpointError(
            f'{checkpoint} holds the weights of another model than the one in {cfg.filename}: '
            f'{_first_mismatch(error)}.\nGive the config that the checkpoint was trained with; '
            'training leaves a copy of it in its work_dir.'
        ) from error
    model.cfg = cfg
    return model.to(device).eval()


def _first_mismatch(error: RuntimeError) -> str:
    """The first of the hundreds of names that torch and mmengine list."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 else lines[0]
    return text.split(', ')[0] if 'key' in text.split(':')[0] else text.rstrip('.')


def _draw_grid(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    titles: tuple[str, str],
    legend: Mapping[str, tuple[int, ...]],
    out: Path,
) -> None:
    """Truth and prediction side by side, two images in a row, no pixel of the panels resampled."""
    in_row = min(2, len(pairs))
    rows = [pairs[start : start + in_row] for start in range(0, len(pairs), in_row)]
    heights = [max(truth.shape[0] for truth, _ in row) for row in rows]
    width = 2 * in_row * (PANEL_SIDE + GAP) + GAP
    names_in_row = max(1, width // (50 + 8 * max(map(len, legend), default=0)))
    legend_height = TITLE * math.ceil(len(legend) / names_in_row)
    height = TITLE + sum(heights) + GAP * len(rows) + legend_height
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    bottom = height - TITLE
    for row, tallest in zip(rows, heights, strict=True):
        bottom -= tallest
        for column, image in enumerate(image for pair in row for image in pair):
            figure.figimage(image, GAP + column * (PANEL_SIDE + GAP), bottom, origin='upper')
        bottom -= GAP
    for column in range(2 * in_row):
        middle = GAP + column * (PANEL_SIDE + GAP) + PANEL_SIDE / 2
        figure.text(middle / width, 1 - TITLE / 2 / height, titles[column % 2], fontsize=10, ha='center', va='center')
    if legend:
        patches = [Patch(color=np.divide(colour, 255), label=name) for name, colour in legend.items()]
        place = {'loc': 'center', 'bbox_to_anchor': (0, 0, 1, legend_height / height), 'borderaxespad': 0}
        figure.legend(handles=patches, ncol=names_in_row, fontsize=10, frameon=False, borderpad=0, **place)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=100)
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.open(buffer).convert('RGB').quantize(COLOURS).save(out, format='PNG', optimize=True)


def make_picture(name: str, checkpoint: str, out: Path, num: int, score_thr: float, device: str) -> int:
    """Draw the picture and return how many images it shows.

    Args:
        name: A config of mmdet or mmseg.
        checkpoint: Weights of its model.
        out: The picture, a PNG.
        num: How many images, spread evenly over the test set.
        score_thr: Lowest score of an instance that is drawn.
        device: Where the model runs.

    Raises:
        UsageError: The config cannot be read, or is of another library.
        CheckpointError: The checkpoint cannot be read, or is of another model.
        DataError: There are no images, or no label maps.
    """
    cfg = read_config(name, {}, custom_imports=True)
    library = library_of(cfg)
    if library not in LIBRARIES:
        raise UsageError(
            f'{name} {f"is for {library}" if library else "does not say what library it is for"} (its default_scope), '
            f'expected {" or ".join(LIBRARIES)}. Give a config of one of them.'
        )
    read_checkpoint(checkpoint)  # for its words about a damaged one
    init_default_scope(library)
    try:
        dataset: BaseDataset = DATASETS.build(cfg.test_dataloader.dataset)
    except FileNotFoundError as error:
        raise DataError(f'The test set of {name} cannot be read: {error}') from error
    if not len(dataset):
        raise DataError(f'The test set of {name} has no images.')
    model = _load_model(cfg, checkpoint, device)
    painter = import_module(f'.picture_{library}', __package__).Painter(model, dataset.metainfo, PANEL_SIDE, score_thr)
    chosen = np.linspace(0, len(dataset) - 1, min(num, len(dataset)), dtype=int)
    pairs = [painter.pair(dataset.get_data_info(int(index))) for index in chosen]
    _draw_grid(pairs, ('truth', painter.title), painter.legend, out)
    return len(pairs)
