"""Draw a trained model's predictions beside the truth, for some images of a config's test set.

Works for configs of mmdet (boxes and masks) and of mmseg (the class of each pixel).

    python tools/picture.py CONFIG CHECKPOINT OUT.png --num 6 --score-thr 0.5
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too
sys.path.insert(0, str(Path(__file__).resolve().parent))  # picture_*.py lie here

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from PIL import Image
from torch import nn

from ..checkpoints.files import CheckpointError, read_checkpoint
from ..openmmlab.command_line import UsageError, read_config

PAINTERS = {'mmdet': 'picture_mmdet', 'mmseg': 'picture_mmseg'}  # by default_scope; only the one needed is imported
PANEL_SIDE = 240  # pixels of a panel's longer side, which mmdet's fixed size of text suits
GAP = 6  # pixels between panels
TITLE = 24  # pixels for a line of words, above the panels or below
COLOURS = 256  # of the picture's own palette, which makes the file a third as large


def read_own_config(path: Path) -> Config:
    """A config of mmdet or mmseg, with what it wants imported."""
    cfg = read_config(str(path), {}, custom_imports=True)
    scope = cfg.get('default_scope')
    if scope not in PAINTERS:
        raise UsageError(
            f'{path} {f"is for {scope}" if scope else "does not say what library it is for"} (its default_scope), '
            f'expected {" or ".join(PAINTERS)}. Give a config of one of them.'
        )
    return cfg


def load_model(cfg: Config, checkpoint: Path, device: str) -> nn.Module:
    """The trained model, ready for the inference of its library; that library's own loading forgives any mismatch."""
    if 'init_cfg' in cfg.model.get('backbone', {}):
        cfg.model.backbone.init_cfg = None
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    try:
        load_checkpoint(model, str(checkpoint), map_location='cpu', strict=True, logger='silent')
    except RuntimeError as error:
        raise UsageError(
            f'{checkpoint} holds the weights of another model than the one in {cfg.filename}: '
            f'{first_mismatch(error)}.\nGive the config that the checkpoint was trained with; '
            'training leaves a copy of it in its work_dir.'
        ) from error
    model.cfg = cfg
    return model.to(device).eval()


def first_mismatch(error: RuntimeError) -> str:
    """The first of the hundreds of names that torch and mmengine list."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 else lines[0]
    return text.split(', ')[0] if 'key' in text.split(':')[0] else text.rstrip('.')


def draw_grid(
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
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100)
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
    plt.close(figure)
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.open(buffer).convert('RGB').quantize(COLOURS).save(out, format='PNG', optimize=True)


def make_picture(config: Path, checkpoint: Path, out: Path, num: int, score_thr: float, device: str) -> int:
    """Draw the picture and return how many images it shows."""
    if num < 1:
        raise UsageError(f'--num is a number of images, at least 1, not {num}.')
    if out.suffix.lower() != '.png':
        raise UsageError(f'The picture is a PNG; {out} does not end in .png.')
    cfg = read_own_config(config)
    read_checkpoint(str(checkpoint))  # for its words about a damaged one
    init_default_scope(cfg.default_scope)
    dataset: BaseDataset = DATASETS.build(cfg.test_dataloader.dataset)
    if not len(dataset):
        raise UsageError(f'The test set of {config} has no images.')
    model = load_model(cfg, checkpoint, device)
    painter = import_module(PAINTERS[cfg.default_scope]).Painter(model, dataset.metainfo, PANEL_SIDE, score_thr)
    chosen = np.linspace(0, len(dataset) - 1, min(num, len(dataset)), dtype=int)
    pairs = [painter.pair(dataset.get_data_info(int(index))) for index in chosen]
    draw_grid(pairs, ('truth', painter.title), painter.legend, out)
    return len(pairs)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw a model's predictions beside the truth.")
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('out', type=Path, help='the picture, a PNG')
    parser.add_argument('--num', type=int, default=6, help='images, spread evenly over the test set (default: 6)')
    parser.add_argument('--score-thr', type=float, default=0.5, help='lowest score drawn, of mmdet (default: 0.5)')
    parser.add_argument('--device', default='cpu', help='(default: cpu)')
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        shown = make_picture(args.config, args.checkpoint, args.out, args.num, args.score_thr, args.device)
    except (UsageError, CheckpointError, FileNotFoundError) as error:
        print(f'picture: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {shown} images, truth beside prediction.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
