"""A Runner with everything built before it runs, so that what is wrong in a config is said in words."""

from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_world_size

from ..errors import UsageError, UserError
from ..registry import RUNNERS
from ..training import Runner
from .dataset import STREAMS


def build_runner(config: Config) -> Runner:
    """The Runner of a config with its model, data, loops, optimiser and schedules.

    Raises:
        UsageError: An argument of theirs is none, or out of its range, the data do not fill a batch, or the work dir
            cannot be used.
        DataError: The data cannot be used.
    """
    _check_streams(config)
    try:
        Path(config.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'{config.work_dir} cannot be the work dir ({error}). Give another: --work-dir DIR') from error
    try:
        kind = RUNNERS.get(config.runner_type) if config.get('runner_type') else Runner
        runner = kind.from_cfg(config)
        runner.build_parts()
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        # of the config's parts; mmengine puts the class's name before what it raises
        raise UsageError(f'{config.filename}: {error or type(error).__name__}') from error
    return runner


def _check_streams(config: Config) -> None:
    """timm's streams share out their images unevenly, and then some count twice and others not at all."""
    for name in ('val_dataloader', 'test_dataloader'):
        loader = config.get(name)
        if not loader or not loader.dataset.get('name', '').startswith(STREAMS):
            continue
        if get_world_size() > 1:
            raise UsageError(
                f'{name}: a stream ({loader.dataset.name}) can be evaluated by one process only. Train with '
                '--no-validate and use ss-backbones evaluate in one process, or validate on folders or a .tar.'
            )
        loader.num_workers = loader.dataset.num_workers = min(loader.num_workers, 1)
