"""Evaluates a classifier's checkpoint."""

from mmengine.config import Config
from mmengine.dist import is_main_process

from ..checkpoints.files import read_checkpoint
from ..checkpoints.loading import load_weights
from ..checkpoints.matching import HEAD
from ..errors import CheckpointError, UsageError
from .building import build_runner
from .folders import find_split


def evaluate(config: Config, checkpoint: str, *, split: str | None, raw: bool) -> dict[str, float] | None:
    """The accuracies of a checkpoint.

    Args:
        config: The classifier's config, which is changed.
        checkpoint: Its weights, in any layout that :func:`~ss_backbones.load_weights` knows.
        split: Which part of the data; None for the config's.
        raw: Take the raw weights, where there is an average too.

    Returns:
        The metrics in the process that speaks for all, None in the others.

    Raises:
        UsageError: The config says not what is evaluated.
        DataError: The data cannot be used.
        CheckpointError: The checkpoint cannot be read, or does not fit the network.
    """
    loader = config.get('test_dataloader')
    if not loader:
        raise UsageError(f'{config.filename} has no test_dataloader, which says what is evaluated.')
    if split:
        loader.dataset.split = split
    if not loader.dataset.get('name'):
        find_split(loader.dataset.data_root, loader.dataset.split, 'Another part: --split NAME')
    nothing = ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr')
    config.update(dict.fromkeys((*nothing, 'val_dataloader', 'val_cfg', 'val_evaluator')))
    config.custom_hooks = [dict(type='ss_backbones.ClassesHook')]
    config.model.update(init_cfg=None, teacher=None)  # neither is needed for an evaluation
    read_checkpoint(checkpoint)  # for its words, before anything is built
    runner = build_runner(config)
    network = getattr(runner.model, 'module', runner.model).backbone
    report = load_weights(network, checkpoint, use_ema=not raw)
    lacking = report.missing + report.wrong_shape
    if lacking:
        what = 'no head for these classes' if all(key.startswith(HEAD) for key in lacking) else 'not all weights'
        raise CheckpointError(f'{checkpoint} has {what}, so there is nothing to evaluate.\n{report}')
    runner.logger.info(str(report))
    metrics = runner.test()
    return metrics if is_main_process() else None
