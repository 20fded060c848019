"""Whether a checkpoint is of the model that it is loaded into."""

import logging
from collections.abc import Mapping, MutableMapping
from copy import copy

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor, nn

from ...checkpoints.activations import activations_in, other_activations
from ...checkpoints.matching import LEAST_SHARE, adapt
from ...checkpoints.values import check_memory, check_numbers
from ...errors import CheckpointError
from ...networks import Network
from ...registry import HOOKS
from ..resume import check_kind, standing_of

_PARTIAL = '--partial (in a config partial=True)'
_ASKED = f'To take what fits all the same: {_PARTIAL}'


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Refuses checkpoints of another model, which mmengine loads as far as they fit, with a list of names in the log.

    - To go on from, and to test, a checkpoint must have everything that the model has; to go on from, nothing else.
    - To begin with (``load_from``), 90% of the tensors must fit, and a backbone of this package must fit as a whole;
      so a head may have other classes.
    - To go on from, it must have the states of a training that counts as this one does, in epochs or in iterations.
    - Its weights must be finite, real numbers in ordinary memory.

    ``partial=True`` in the config takes whatever fits, and what is not finite.
    """

    priority = 'VERY_HIGH'  # before EMAHook loads them into its average

    def after_load_checkpoint(self, runner: Runner, checkpoint: MutableMapping[str, object]) -> None:
        """Compare.

        Raises:
            CheckpointError: It is of another model, its weights cannot be used, or no training can go on from it.
        """
        name = runner._load_from or 'the checkpoint'
        standing = standing_of(checkpoint, name) if runner._resume else None
        self._check_weights(runner, _weights_in(checkpoint, name), name)
        if standing is not None:
            if isinstance(runner.train_loop, EpochBasedTrainLoop | IterBasedTrainLoop):
                check_kind(standing, isinstance(runner.train_loop, EpochBasedTrainLoop))
            _check_schedules(runner, checkpoint, name)
            checkpoint['meta'].pop('config', None)  # of old programs; mmengine would run it, to read the GPUs in it

    def _check_weights(self, runner: Runner, weights: Mapping[str, object], name: str) -> None:
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        theirs = {key.removeprefix('module.'): value for key, value in weights.items() if isinstance(value, Tensor)}
        check_memory(theirs, name)
        ours = model.state_dict()
        if runner.cfg.get('partial'):
            fitting = {key: value for key, value in theirs.items() if key in ours and value.shape == ours[key].shape}
            check_numbers(fitting, ours, name, finite=False)
            return
        networks = {name: part for name, part in model.named_modules() if isinstance(part, Network)}
        for place, network in () if runner._resume else networks.items():  # an optimiser cannot follow
            _adapt(theirs, network, f'{place}.' if place else '')
        missing = [key for key in ours if key not in theirs]
        other = [key for key in ours if key in theirs and ours[key].shape != theirs[key].shape]
        extra = [key for key in theirs if key not in ours]
        inside = tuple(f'{place}.' for place in networks if place)
        if runner._resume:
            problem = missing + other + extra
            advice = 'Take the config that it was trained with, or another --work-dir.'
        elif runner.optim_wrapper is None:  # a test
            problem = missing + other + [key for key in extra if key.startswith(inside)]
            advice = f'Take the config that it was trained with; its work dir has a copy. {_ASKED}'
        else:
            problem = missing + other + [key for key in extra if key.startswith(inside)]
            share = 1 - len(missing + other) / len(ours)
            if share >= LEAST_SHARE and not any(key.startswith(inside) for key in problem):
                problem = []
            advice = f'For the weights of a backbone alone set model.backbone.init_cfg. {_ASKED}'
        if problem:
            raise CheckpointError(
                f'{name} is of another model than the config: {len(problem)} tensors are in one of them alone or '
                f'differ in shape, such as {_example(problem[0], ours, theirs)}. {advice}'
            )
        if others := other_activations(activations_in(weights), model):
            raise CheckpointError(
                f'{name} was trained with other activations than the config has: {others[0]}. Take the config that it '
                'was trained with; its work dir has a copy.'
            )
        check_numbers(theirs, ours, name, finite=True, advice=f'To take them all the same: {_PARTIAL}')


def _weights_in(checkpoint: MutableMapping[str, object], name: str) -> Mapping[str, object]:
    """The weights; put under ``state_dict``, where mmengine's EMAHook wants them, if they are all that there is."""
    if 'state_dict' not in checkpoint and any(isinstance(value, Tensor) for value in checkpoint.values()):
        weights = copy(checkpoint)  # with the metadata that it carries
        checkpoint.clear()
        checkpoint['state_dict'] = weights
    weights = checkpoint.get('state_dict')
    if not isinstance(weights, Mapping):
        raise CheckpointError(
            f'{name} has no tensors under state_dict or at its top, where a whole model is looked for; it has '
            f'{", ".join(map(str, [*checkpoint][:5])) or "nothing"}. For the weights of a backbone alone set '
            'model.backbone.init_cfg, which finds them under other names too.'
        )
    return weights


def _check_schedules(runner: Runner, checkpoint: Mapping[str, object], name: str) -> None:
    """mmengine takes the schedules by their places, and begins those anew that the checkpoint has no state of."""
    if not isinstance(runner.param_schedulers, list):
        return
    here, there = len(runner.param_schedulers), len(checkpoint.get('param_schedulers') or ())
    if here != there:
        print_log(
            f'{name} has the states of {there} schedules, and the config has {here}: the learning rate may not go on '
            'as it would have. Take the config that it was trained with, if that is not meant.',
            logger='current',
            level=logging.WARNING,
        )


def _adapt(weights: dict[str, Tensor], network: nn.Module, prefix: str) -> None:
    """Do what the network does as it is loaded: rename foreign keys, move ramps, resize positions."""
    inside = {key[len(prefix) :]: weights.pop(key) for key in list(weights) if key.startswith(prefix)}
    weights.update({prefix + key: value for key, value in adapt(inside, network, {})[0].items()})


def _example(key: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    if key in ours and key in theirs:
        return f'{key} (here {tuple(ours[key].shape)}, there {tuple(theirs[key].shape)})'
    return f'{key} (only {"in the model" if key in ours else "in the checkpoint"})'
