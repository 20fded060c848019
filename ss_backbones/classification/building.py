"""mmengine's Runner with everything built before it runs, so that what is wrong in a config is said in words."""

from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..errors import UsageError
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
        runner = Runner.from_cfg(config)
        _build_parts(runner)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # of the config's parts; mmengine puts the class's name before what it raises
        raise UsageError(f'{config.filename}: {error or type(error).__name__}') from error
    return runner


def _build_parts(runner: Runner) -> None:
    """What Runner.train and Runner.test would build by themselves, in their order; they take it as they find it."""
    if runner.optim_wrapper is None:
        runner._test_loop = runner.build_test_loop(runner._test_loop)
        return
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    _check_length(runner.train_dataloader)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    if runner._val_loop is not None:
        runner._val_loop = runner.build_val_loop(runner._val_loop)


def _check_length(loader: DataLoader) -> None:
    if not len(loader):
        raise UsageError(
            f'the {len(loader.dataset)} images of the training data do not fill a batch of {loader.batch_size} in each '
            f'of {get_world_size()} processes. Take a smaller one: --cfg-options train_dataloader.batch_size=N'
        )


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
