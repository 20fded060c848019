"""Draw a trained model's predictions beside the truth, for some images of a config's test set.

python tools/picture.py CONFIG CHECKPOINT OUT.png --num 6 --score-thr 0.5
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
import mmcv
import numpy as np
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData
from PIL import Image

from ss_backbones.checkpoint_files import CheckpointError, read_checkpoint

PANEL_SIDE = 240  # pixels of a panel's longer side, which mmdet's fixed size of text suits
GAP = 6  # pixels between panels
TITLE = 24  # pixels for the words above them
COLOURS = 256  # of the picture's own palette, which makes the file a third as large


class UsageError(Exception):
    """What the user gave cannot be drawn; the text says what to do instead."""


def truth_of(info: dict, height: int, width: int) -> InstanceData:
    """The annotated instances of one entry of a data set, in the image's own pixels."""
    loaded = LoadAnnotations(with_bbox=True, with_mask=True)({**info, 'ori_shape': (height, width)})
    return InstanceData(
        bboxes=loaded['gt_bboxes'].tensor, labels=torch.from_numpy(loaded['gt_bboxes_labels']), masks=loaded['gt_masks']
    )


def enlarged(instances: InstanceData, factor: float, height: int, width: int) -> InstanceData:
    """The instances for an image that was resized to (height, width)."""
    result = InstanceData(bboxes=instances.bboxes.cpu() * factor, labels=instances.labels.cpu())
    if 'scores' in instances:
        result.scores = instances.scores.cpu()
    if 'masks' in instances:
        masks = instances.masks
        if isinstance(masks, torch.Tensor):
            masks = BitmapMasks(masks.cpu().numpy().astype(np.uint8), *masks.shape[-2:])
        result.masks = masks.resize((height, width))
    return result


def panel(visualizer: DetLocalVisualizer, image: np.ndarray, instances: InstanceData, score_thr: float) -> np.ndarray:
    """The image, enlarged for legible names, with the instances drawn on it."""
    factor = PANEL_SIDE / max(image.shape[:2])
    large = mmcv.imrescale(image, factor, interpolation='bicubic')
    sample = DetDataSample()
    drawn = enlarged(instances, factor, *large.shape[:2])
    is_truth = 'scores' not in instances
    if is_truth:
        sample.gt_instances = drawn
    else:
        sample.pred_instances = drawn
    visualizer.add_datasample(
        'panel', large, sample, draw_gt=is_truth, draw_pred=not is_truth, pred_score_thr=score_thr
    )
    return visualizer.get_image()


def draw_grid(pairs: Sequence[tuple[np.ndarray, np.ndarray]], titles: tuple[str, str], out: Path) -> None:
    """Truth and prediction side by side, two images in a row, no pixel of the panels resampled."""
    in_row = min(2, len(pairs))
    rows = [pairs[start : start + in_row] for start in range(0, len(pairs), in_row)]
    heights = [max(truth.shape[0] for truth, _ in row) for row in rows]
    width = 2 * in_row * (PANEL_SIDE + GAP) + GAP
    height = TITLE + sum(heights) + GAP * len(rows)
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
    if not config.is_file():
        raise UsageError(f'There is no config file {config}.')
    read_checkpoint(str(checkpoint))  # for its words about a damaged one
    cfg = Config.fromfile(config)
    model = init_detector(cfg, str(checkpoint), device=device)
    dataset: BaseDataset = DATASETS.build(cfg.test_dataloader.dataset)
    visualizer = DetLocalVisualizer(line_width=2, alpha=0.5)
    np.random.seed(0)  # the visualizer varies its colours at random
    visualizer.dataset_meta = dataset.metainfo
    pairs = []
    for index in np.linspace(0, len(dataset) - 1, min(num, len(dataset)), dtype=int):
        info = dataset.get_data_info(int(index))
        image = mmcv.imread(info['img_path'], channel_order='rgb')
        predicted = inference_detector(model, info['img_path']).pred_instances
        truth = truth_of(info, *image.shape[:2])
        pairs.append(tuple(panel(visualizer, image, found, score_thr) for found in (truth, predicted)))
    draw_grid(pairs, ('truth', f'prediction, score from {score_thr:g}'), out)
    return len(pairs)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw a model's predictions beside the truth.")
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('out', type=Path, help='the picture, a PNG')
    parser.add_argument('--num', type=int, default=6, help='images, spread evenly over the test set (default: 6)')
    parser.add_argument('--score-thr', type=float, default=0.5, help='lowest score drawn (default: 0.5)')
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
