"""What the test evaluator of a config says of a model, in words for a caption."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from contextlib import redirect_stdout
from numbers import Real

import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ...errors import DataError
from ..data_check import find_missing
from ..inference import MISFITS, Inference

# how papers call what evaluators measure, in the order of a caption
_NAMES = {'bbox_mAP_50': 'box AP50', 'segm_mAP_50': 'mask AP50', 'mIoU': 'mIoU'}
_MOST_OTHERS = 2  # of an evaluator with other metrics


def evaluated(inference: Inference, dataset: BaseDataset) -> str:
    """Run the test evaluator over the whole test set and say what it measured, such as 'box AP50 0.912'.

    Raises:
        DataError: There is no evaluator, a file of its is missing, or it cannot be run.
    """
    config = inference.config
    if not config.get('test_evaluator'):
        raise DataError('the config has no test_evaluator')
    missing = find_missing(config.to_dict(), 'test')
    if missing:
        raise DataError(f'{missing[0].path}, of {missing[0].setting}, {missing[0].problem}')
    try:
        metrics = _metrics(inference, dataset)
    except (*MISFITS, OSError) as error:
        raise DataError(f'its evaluator fails: {type(error).__name__}: {error}') from error
    return describe(metrics)


def _metrics(inference: Inference, dataset: BaseDataset) -> Mapping[str, float]:
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        with torch.no_grad(), redirect_stdout(io.StringIO()):  # COCO's prints its progress
            evaluator = Evaluator(inference.config.test_evaluator)
            evaluator.dataset_meta = dataset.metainfo
            for batch in Runner.build_dataloader({**inference.config.test_dataloader, 'dataset': dataset}):
                evaluator.process(inference.model.test_step(batch), batch)
            return evaluator.evaluate(len(dataset))
    finally:
        logger.setLevel(level)


def describe(metrics: Mapping[str, float]) -> str:
    """Metrics by the names of mmengine, as shares of 1 in words."""
    known = {key.rpartition('/')[2]: value for key, value in metrics.items() if isinstance(value, Real)}
    known = {key: value for key, value in known.items() if value >= 0 and math.isfinite(value)}  # COCO's -1 is none
    words = [f'{name} {_share(key, known[key]):.3f}' for key, name in _NAMES.items() if key in known]
    return ', '.join(words or [f'{key} {value:g}' for key, value in list(known.items())[:_MOST_OTHERS]])


def _share(key: str, value: float) -> float:
    return value / 100 if key == 'mIoU' else value
