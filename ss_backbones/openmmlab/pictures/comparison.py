"""A picture of a trained model's predictions beside the truth, for some images of a config's test set."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from PIL import Image
from torch import Tensor

from ...errors import DataError
from ..configs import read_config
from ..inference import Inference
from ..test_data import metainfo_of_test_set
from .classes import Classes
from .evaluation import evaluated
from .painting import enlarged
from .reading import read_image, samples_of
from .sheet import sheet

PANEL_SIDE = 320  # pixels of a panel's longer side
COLOURS = 256  # of the picture's own palette, which makes the file a third as large


def make_picture(
    name: str, checkpoint: str, out: Path, num: int, score_thr: float, evaluate_up_to: int, device: str
) -> str:
    """Draw the picture.

    Args:
        name: A config of mmdet or mmseg.
        checkpoint: Weights of its model.
        out: The picture, a PNG; one that is there is replaced.
        num: How many images, spread evenly over the test set.
        score_thr: Lowest score of an instance that is drawn.
        evaluate_up_to: The model is evaluated over a test set of at most so many images, for the caption.
        device: Where the model runs.

    Returns:
        What it shows, in words.

    Raises:
        UsageError: The config cannot be used, or there is no such device.
        CheckpointError: The checkpoint cannot be read, or is of another model.
        DataError: There are no images, or no label maps.
    """
    inference = Inference(name, read_config(name, {}, custom_imports=True), checkpoint, device)
    dataset = _test_set(name, inference)
    samples = samples_of(inference.library)
    # mmseg's data sets make up a palette where there is none
    classes = Classes.of({**dataset.metainfo, 'palette': metainfo_of_test_set(inference.config).get('palette')})
    panels: list[Tensor] = []
    shown: set[int] = set()
    chosen = np.linspace(0, len(dataset) - 1, min(num, len(dataset)), dtype=int)
    for index in chosen:
        info = dataset.get_data_info(int(index))
        image = read_image(info['img_path'])
        found = samples.prediction(inference(info['img_path']), score_thr, inference.model)
        for seen in (samples.truth(info, *image.shape[1:], len(classes.names)), found):
            panel, seen = enlarged(image, seen, PANEL_SIDE / max(image.shape[1:]))
            panels.append(seen.painted(panel, classes))
            shown |= set(seen.legend())
    legend = {classes.name(label): classes.colour(label) for label in sorted(shown)}
    thresholded = f'prediction, score from {score_thr:g}' if inference.library == 'mmdet' else 'prediction'
    in_row = min(2, len(chosen))
    caption, remark = _caption(inference, dataset, evaluate_up_to)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = sheet(panels, 2 * in_row, ('truth', thresholded) * in_row, legend, caption)
    # this method and one step of k-means keep the colours of small areas, such as those of the legend
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1).save(out, format='PNG', optimize=True)
    return f'{len(chosen)} images, truth beside prediction; {remark}'


def _test_set(name: str, inference: Inference) -> BaseDataset:
    try:
        with redirect_stdout(io.StringIO()):  # COCO's reader prints its progress
            dataset = DATASETS.build(inference.config.test_dataloader.dataset)
    except FileNotFoundError as error:
        raise DataError(f'The test set of {name} cannot be read: {error}') from error
    if not len(dataset):
        raise DataError(f'The test set of {name} has no images.')
    return dataset


def _caption(inference: Inference, dataset: BaseDataset, most: int) -> tuple[str, str]:
    """What the picture says below, nothing without an evaluation; and the same, or why not, for the user."""
    if len(dataset) > most:
        return '', f'not evaluated, as its {len(dataset)} images are more than {most}'
    try:
        caption = f'on all {len(dataset)} images of the test set: {evaluated(inference, dataset)}'
    except DataError as error:  # the picture has its worth without
        return '', f'not evaluated: {error}'
    return caption, caption
