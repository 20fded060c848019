"""The hook that carries a search out: draws, the gates' own optimiser, the record, the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..checkpoints.activations import with_activations
from ..checkpoints.values import in_words, not_finite
from ..checkpoints.writing import write_checkpoint
from ..errors import CheckpointError, TrainingError, UsageError, UserError
from ..layers.gates import START
from ..layers.mlp import activations_of
from ..layers.search_mixer import CHOICES as MIXERS
from ..networks import network_in
from ..networks.searching import draw_gates, found_settings, found_weights, gates, keep_needed_attention
from ..output_files import check_new, new_file
from ..registry import HOOKS
from ..training.resume import last_good
from ..training.seeds import seed_of
from .search_plan import GIGA, SearchPlan

FOUND, WEIGHTS, DENSE_WEIGHTS = 'found.json', 'found.pth', 'found_dense.pth'  # in the work dir
_KEY = 'search'  # of a checkpoint
_LENGTH = 300 / 21  # of the cosine over the search's own: the paper stops after 21 of 300 epochs
_NEAR = 0.1  # of the budget, the difference of which nothing is said
_FLOOR = 0.1  # of the gates' learning rate, where the cosine would end
_RECORDS = 200  # of a search, at least
_EVERY = 10  # iterations between two looks at the gates: each makes a GPU wait
_RANK = -1  # in the seed of the draws, where others have a process's number: all processes draw the same


def without_gates(wrapper: OptimWrapper, network: nn.Module) -> OptimWrapper:
    """Take the gates out of an optimiser, as they have their own."""
    own = {id(parameter) for parameter in gates(network).values()}
    for group in wrapper.optimizer.param_groups:
        keep = [id(parameter) not in own for parameter in group['params']]
        for key in ('params', 'param_names'):
            if key in group:
                group[key] = [item for item, kept in zip(group[key], keep, strict=True) if kept]
    wrapper.optimizer.param_groups[:] = [group for group in wrapper.optimizer.param_groups if group['params']]
    return wrapper


@HOOKS.register_module()
class SearchHook(Hook):
    """Draws the gates of every step, moves them, and writes down how they move and what is found.

    The gates have an AdamW of their own, without weight decay, that steps after the network's. Its learning rate falls
    by a cosine of which the search is the first part, by about 1%. Draws follow from the run's seed and the iteration,
    so that all processes have the same, and a resumed search ends as an uninterrupted one.

    At the end ``found.json`` in the work dir has the settings, the cost and the record of the search, ``found.pth`` the
    weights for the network that was found, and ``found_dense.pth`` those that it has out of the dense network, from
    which the official code trains it.

    Args:
        plan: What is asked for.

    Source: SPViT (TPAMI 2024) and its official code, which has these optimisers and schedules.
    """

    priority = 'HIGH'  # before the hook that looks at the loss, and before logs and checkpoints

    def __init__(self, plan: SearchPlan) -> None:
        self.plan = plan
        self.history: list[dict[str, Any]] = []
        self.kept_attention = False

    def before_run(self, runner: Runner) -> None:
        """Make the gates' optimiser.

        Raises:
            UsageError: All gates are frozen, or the results of another search are there.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.network = network_in(model)
        self.cost = self.plan.cost_of(self.network)
        moving = [gate for gate in gates(self.network).values() if gate.requires_grad]
        if not moving:
            raise UsageError('All blocks are frozen, so there is nothing to search: set frozen_stages=-1.')
        if is_main_process() and not runner.cfg.get('dry_run'):
            for name in (FOUND, WEIGHTS, DENSE_WEIGHTS):
                check_new(Path(runner.work_dir) / name)
        self.optimizer = torch.optim.AdamW(moving, lr=self.plan.lr, weight_decay=0.0)
        self.wrapper = runner.optim_wrapper
        self.wrapper.optimizer.register_step_post_hook(self._step)

    def _step(self, *_: object) -> None:
        """After the network's optimiser: what accumulates gradients, or leaves a step out, does so for both."""
        scale = self.wrapper.loss_scaler.get_scale() if isinstance(self.wrapper, AmpOptimWrapper) else 1.0
        for gate in self.optimizer.param_groups[0]['params']:
            if gate.grad is not None and scale != 1:
                gate.grad.div_(scale)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        """Draw the gates, and set their learning rate."""
        draw_gates(self.network, seed_of(runner.seed, runner.iter, _RANK))
        turn = math.pi * runner.iter / (_LENGTH * runner.max_iters)
        share = _FLOOR + (1 - _FLOOR) * (1 + math.cos(turn)) / 2
        self.optimizer.param_groups[0]['lr'] = self.plan.lr * share

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: Mapping | None = None
    ) -> None:
        """Keep the attention that is needed, and write down where the gates are.

        Raises:
            TrainingError: They are not finite.
        """
        done = runner.iter + 1
        last = done == runner.max_iters
        if done % _EVERY == 0 or last or not torch.cuda.is_available():
            self._check_finite(runner)
            self._keep_attention(runner)
        every = min(next((h.interval for h in runner.hooks if type(h).__name__ == 'LoggerHook'), _EVERY), _EVERY)
        if done % every == 0 or last:
            self._log(runner, done, say=last)
        if done % max(1, runner.max_iters // _RECORDS) == 0 or last:
            self.history.append({'iteration': done, **self._state()})

    def _check_finite(self, runner: Runner) -> None:
        broken = not_finite(gates(self.network).items())
        if broken:
            raise TrainingError(
                f'At iteration {runner.iter + 1} gates are not finite any more: {in_words(broken)}. '
                f'{last_good(runner.work_dir)} Try a lower learning rate of the gates (--gate-lr), a smaller weight of '
                'the cost (--weight), or a lower learning rate of the network.'
            )

    def _keep_attention(self, runner: Runner) -> None:
        kept = keep_needed_attention(self.network)
        if kept is not None and not self.kept_attention:
            self.kept_attention = True
            runner.logger.warning(
                f'No gate was on for attention any more, so that of block {kept} is kept: the class token needs one. '
                'If this is so at the end, the budget is low, or the gates are too fast (--gate-lr).'
            )

    def _state(self) -> dict[str, Any]:
        blocks = self.network.all_blocks()
        with torch.no_grad():
            macs = int(self.cost.total())
        return {
            'macs': macs,
            'mixers': [block.attn.choice for block in blocks],
            'hidden': [len(block.mlp.kept()) for block in blocks],
        }

    def _log(self, runner: Runner, done: int, *, say: bool) -> None:
        state, hub = self._state(), runner.message_hub
        hub.update_scalar('train/gmacs', state['macs'] / GIGA)
        hub.update_scalar('train/macs_share', state['macs'] / self.cost.dense)
        hub.update_scalar('train/hidden_units', sum(state['hidden']))
        for mixer in MIXERS:
            hub.update_scalar(f'train/{mixer}_blocks', state['mixers'].count(mixer))
        by_block = {f'gates/hidden_{i:02}': width for i, width in enumerate(state['hidden'])}
        by_block |= {f'gates/mixer_{i:02}': MIXERS.index(mixer) for i, mixer in enumerate(state['mixers'])}
        runner.visualizer.add_scalars(by_block, step=done)
        if say:
            share = state['macs'] / self.cost.dense
            runner.logger.info(
                f"Found {state['macs'] / GIGA:.4g} G multiply-adds, {share:.1%} of the dense network's "
                f'{self.cost.dense / GIGA:.4g} G; the budget is {self.plan.budget:.1%}.'
            )
            if abs(share - self.plan.budget) > _NEAR * self.plan.budget:
                runner.logger.warning(
                    'The search did not come to its budget. Gates move by about their learning rate in a step, from '
                    f'{START:g} to below 0: search longer, or with a higher rate than --gate-lr {self.plan.lr:g}, or '
                    'with a larger --weight if the cost had stopped above it.'
                )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put in what a resumed search needs."""
        checkpoint[_KEY] = {'optimizer': self.optimizer.state_dict(), 'history': self.history}

    def after_load_checkpoint(self, runner: Runner, checkpoint: Mapping[str, Any]) -> None:
        """Go on as the checkpoint was.

        Raises:
            CheckpointError: It is of no search.
        """
        if not runner._resume:
            return
        if _KEY not in checkpoint:
            raise CheckpointError(f'{runner._load_from} is no checkpoint of a search, so none can go on from it.')
        self.optimizer.load_state_dict(checkpoint[_KEY]['optimizer'])
        self.history = list(checkpoint[_KEY]['history'])

    def after_train(self, runner: Runner) -> None:
        """Write what was found.

        Raises:
            OutputError: It cannot be written.
        """
        if not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        folder = Path(runner.work_dir)
        content = {
            'budget': self.plan.budget,
            'dense_macs': self.cost.dense,
            'dense_hidden': [block.mlp.hidden for block in self.network.all_blocks()],
            **self._state(),
            'settings': [asdict(setting) for setting in found_settings(self.network)],
            'history': self.history,
        }
        write_checkpoint({'state_dict': found_model(model)}, folder / WEIGHTS)
        with new_file(folder / FOUND) as file:
            file.write((json.dumps(content, indent=1) + '\n').encode())
        runner.logger.info(f'Wrote {folder / FOUND} and {folder / WEIGHTS}.')
        try:
            write_checkpoint({'state_dict': runner.found_in_dense()}, folder / DENSE_WEIGHTS)
            runner.logger.info(f'Wrote {folder / DENSE_WEIGHTS}.')
        except UserError as error:  # what was found is there
            runner.logger.warning(f'{folder / DENSE_WEIGHTS} was not written: {error}')


def found_model(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a whole model with what was found in the place of its searched network, on the CPU."""
    network = network_in(model)
    start = next(f'{name}.' if name else '' for name, part in model.named_modules() if part is network)
    weights = {key: value for key, value in model.state_dict().items() if not start or not key.startswith(start)}
    weights = weights if start else {}
    weights |= {start + key: value for key, value in found_weights(network).items()}
    kept = {key: value.detach().cpu().clone() for key, value in weights.items()}
    return with_activations(kept, activations_of(network), start)
