"""The Runner of a search: whatever the config trains, with gates in its backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ..checkpoints.extraction import extract
from ..checkpoints.files import read_checkpoint
from ..errors import UsageError, UserError
from ..networks import PRESETS, Network, network_in
from ..networks.searching import check_searchable, gates, search_form
from ..openmmlab.backbone_building import own_class
from ..openmmlab.pretrained import is_pretrained
from ..registry import RUNNERS
from ..training import Runner
from .search_plan import SearchPlan, add_cost_loss
from .searching import SearchHook, found_model, without_gates


@RUNNERS.register_module()
class SearchRunner(Runner):
    """Searches while it trains: ``runner_type='ss_backbones.SearchRunner', search=dict(budget=0.7)`` in a config.

    The model gets its trained weights as it is built, and then its gates, so that processes, optimiser and checkpoints
    know them from the start. Whatever model mmengine's Runner trains can be searched that has a ViT or Swin of this
    package with attention in all blocks.

    The arguments are those of mmengine's Runner; see :class:`SearchPlan` and :class:`SearchHook`.
    """

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the dense model, load its weights, and give it gates.

        Raises:
            UsageError: It cannot be searched, or has no trained weights.
            CheckpointError: The weights do not fit.
        """
        self.plan = SearchPlan.of(self.cfg)
        model = self._with_gates(model, dense_weights=not (self.cfg.get('resume') and self._resumed))
        network = network_in(model)
        cost = self.plan.cost_of(network)
        self.plan.check(cost)
        add_cost_loss(model, self.plan, cost)
        return model

    def found_in_dense(self) -> dict[str, Tensor]:
        """The weights of the dense network that the search began with, cut to what it has found so far.

        Raises:
            UsageError, CheckpointError: The file is not there any more, or is another one.
        """
        model = self._with_gates(self.cfg.model, dense_weights=True)
        searched = gates(network_in(self.model))
        with torch.no_grad():
            for name, gate in gates(network_in(model)).items():
                gate.copy_(searched[name])
        return found_model(model)

    def _with_gates(self, model: nn.Module | dict, *, dense_weights: bool) -> nn.Module:
        model = super().build_model(_with_learned_ramps(model))
        network = network_in(model)
        try:
            check_searchable(network)
            if dense_weights:
                self._load_dense(model, network)
            search_form(network)
        except ValueError as error:
            raise error if isinstance(error, UserError) else UsageError(str(error)) from error
        return model

    def _load_dense(self, model: nn.Module, network: Network) -> None:
        holder = network if hasattr(network, 'init_cfg') else model  # a classifier loads the whole of its network
        if self.plan.checkpoint is not None:
            holder.init_cfg = dict(type='Pretrained', checkpoint=self.plan.checkpoint)
        given = holder.init_cfg or {}
        if not any(is_pretrained(cfg) for cfg in ([given] if isinstance(given, Mapping) else given)):
            raise UsageError(
                'A search starts from the weights of the trained dense network: --checkpoint FILE, or '
                'search=dict(checkpoint=FILE) in the config.'
            )
        model.init_weights()
        if self.plan.checkpoint is not None and holder is network:
            self._load_around(model, network)

    def _load_around(self, model: nn.Module, network: Network) -> None:
        """Take what else of a detector or segmenter the checkpoint has, as far as it fits."""
        tensors = extract(read_checkpoint(self.plan.checkpoint), self.plan.checkpoint, average=True).tensors
        start = next(f'{name}.' for name, part in model.named_modules() if part is network)
        own = {key: value for key, value in model.state_dict().items() if not key.startswith(start)}
        fitting = {key: tensors[key] for key in own if key in tensors and tensors[key].shape == own[key].shape}
        model.load_state_dict(fitting, strict=False)
        self.logger.info(f'{self.plan.checkpoint}: {len(fitting)} of {len(own)} tensors outside of the backbone fit.')

    def _init_model_weights(self) -> None:
        """Nothing: the weights were loaded before there were gates."""

    def register_hooks(
        self,
        default_hooks: dict[str, Hook | dict] | None = None,
        custom_hooks: Sequence[Hook | dict] | None = None,
    ) -> None:
        """Register the hooks of every run, and that of the search."""
        super().register_hooks(default_hooks, custom_hooks)
        # it would tell how to use checkpoints, which have gates here
        self._hooks = [hook for hook in self._hooks if type(hook).__name__ != 'SummaryHook']
        self.register_hook(SearchHook(self.plan))

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict[str, Any]) -> OptimWrapper:
        """Build the network's optimiser, without the gates."""
        return without_gates(super().build_optim_wrapper(optim_wrapper), network_in(self.model))


def _with_learned_ramps(model: nn.Module | Mapping[str, Any]) -> nn.Module | dict[str, Any]:
    """A model's config with ramps in biases, as hidden units are dropped; the weights are the same.

    Raises:
        UsageError: The backbone is none of this package's.
    """
    if isinstance(model, nn.Module):
        return model
    backbone = model.get('backbone') or {}
    if own_class(backbone) is None and backbone.get('name') not in PRESETS:
        raise UsageError(
            f'The backbone is {backbone.get("type") or backbone.get("name")!r}, none of this package: a search is for '
            'its ViT (SSViT, timm ss_vit_*) and Swin (SSSwin, timm ss_swin_*).'
        )
    ramp = 'bias' if backbone.get('ramp') in (None, 'paper') else backbone['ramp']
    return {**model, 'backbone': {**backbone, 'ramp': ramp}}
