"""What of a recipe follows from the run: the learning rate from its batch, the schedule's end from its length."""

from mmengine.config import Config

from ..errors import UsageError


def scale_learning_rate(config: Config, world_size: int) -> str:
    """Scale the learning rate from ``auto_scale_lr.base_batch_size`` to the images of an update, and say so.

    mmengine's own scaling does not know gradient accumulation, so the config is left without it here.

    Args:
        config: The config, whose ``optim_wrapper.optimizer.lr`` and schedules' ``eta_min`` are changed.
        world_size: Processes.

    Returns:
        A line for the log.
    """
    batch, wrapper = config.train_dataloader.batch_size, config.optim_wrapper
    steps = wrapper.get('accumulative_counts', 1)
    images = world_size * batch * steps
    given = f'{images} images an update ({world_size} processes x {batch} images x {steps} accumulated)'
    scaling = config.get('auto_scale_lr') or {}
    config.auto_scale_lr = None
    if not scaling.get('enable'):
        return f'Learning rate {wrapper.optimizer.lr:g} as given, for {given}.'
    base = scaling['base_batch_size']
    before = wrapper.optimizer.lr
    wrapper.optimizer.lr = before * images / base
    for schedule in config.get('param_scheduler') or []:
        if schedule.get('eta_min'):  # or the learning rate of a small batch would end above where it began
            schedule.eta_min *= images / base
    return f'Learning rate {before:g} for {base} images scaled to {wrapper.optimizer.lr:g} for {given}.'


def fit_schedule(config: Config) -> None:
    """Let the last schedule of the learning rate end with the training, where it says nothing of its end.

    Raises:
        UsageError: A schedule goes on after the training's end, or the last one ends before it, so that the learning
            rate would not do what the recipe means.
    """
    epochs, schedules = config.train_cfg.max_epochs, config.get('param_scheduler') or []
    if not schedules:
        return
    last = schedules[-1]
    if last.get('by_epoch', True):
        last.setdefault('end', epochs)
    for i, schedule in enumerate(schedules):
        begin, end = schedule.get('begin', 0), schedule.get('end')
        if not schedule.get('by_epoch', True) or end is None:
            continue
        if begin >= epochs or end > epochs:
            raise UsageError(
                f'param_scheduler.{i} ({schedule.type}) runs from epoch {begin} to {end}, but the training has '
                f'{epochs} epochs. Shorten the warm-up with --cfg-options param_scheduler.0.end=N '
                'param_scheduler.1.begin=N, or set the end of your schedule.'
            )
    if last.get('by_epoch', True) and last.end < epochs:
        raise UsageError(
            f'the last schedule ({last.type}) ends at epoch {last.end}, the training at {epochs}: leave its end out, '
            'or set both.'
        )
