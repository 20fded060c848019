"""What all backbones of this package do in OpenMMLab: freezing, pretrained weights, contiguous maps."""

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..checkpoints.matching import adapt
from ..errors import CheckpointError
from ..networks.arguments import check_flag
from .pretrained import is_pretrained, load_pretrained

InitCfg = Mapping[str, object] | Sequence[Mapping[str, object]] | None


class BackboneMixin:
    """Goes before a network and mmengine's BaseModule in the bases of a backbone."""

    def _set_up(
        self,
        parts: Sequence[Sequence[nn.Module | nn.Parameter]],
        stages: int,
        frozen_stages: int,
        bf16: bool,
        init_cfg: InitCfg,
        stage: str = 'stages',
    ) -> None:
        """Finish the constructor.

        Args:
            parts: What can be frozen, in order: the stem, then the built stages; each may consist of several things.
            stages: Number of stages of the architecture, built or not.
            frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages.
            bf16: Run under bfloat16 autocast, with float32 maps.
            init_cfg: mmengine's init_cfg.
            stage: What a stage is called in errors.
        """
        if isinstance(frozen_stages, bool) or not isinstance(frozen_stages, int) or not -1 <= frozen_stages <= stages:
            raise ValueError(
                f'frozen_stages={frozen_stages!r} is out of range: -1 freezes nothing, 0 the stem, '
                f'up to {stages} the stem and so many {stage}.'
            )
        check_flag('bf16', bf16)
        for cfg in _as_list(init_cfg):
            if not isinstance(cfg, Mapping) or 'type' not in cfg:
                raise ValueError(
                    'init_cfg must be a dict with a type, such as dict(type="Pretrained", checkpoint=FILE), '
                    f'a list of these, or None, not {cfg!r}.'
                )
        self.frozen_stages = frozen_stages
        self.bf16 = bf16
        self.init_cfg = copy.deepcopy(init_cfg)
        # A list keeps the modules out of the state dict's names.
        self._frozen_parts = [thing for part in parts[: frozen_stages + 1] for thing in part]
        self.register_load_state_dict_pre_hook(_make_ours)
        # Before anyone sees the parameters: DDP registers those that need gradients when it is built.
        self._freeze()

    def _freeze(self) -> None:
        for part in self._frozen_parts:
            part.requires_grad_(False)
            if isinstance(part, nn.Module):
                part.eval()

    def train(self, mode: bool = True) -> nn.Module:
        """Switch between training and evaluation; frozen parts stay frozen and in evaluation."""
        super().train(mode)
        self._freeze()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) to one contiguous (B, C, h, w) map for each of out_indices."""
        # Nothing is computed on the meta device, which has no autocast.
        autocast = self.bf16 and x.device.type != 'meta'
        with torch.autocast(x.device.type, torch.bfloat16) if autocast else nullcontext():
            maps = super().forward(x)
        # mmcv's RoIAlign reads the memory as if it were contiguous: a channels-last map would give wrong numbers.
        return tuple((m.float() if self.bf16 else m).contiguous() for m in maps)

    def init_weights(self) -> None:
        """Initialise as init_cfg says; ``type='Pretrained'`` goes through :func:`load_weights`.

        Raises:
            CheckpointError: The checkpoint is not given, cannot be read, or does not fit.
        """
        if self.is_init:
            super().init_weights()  # says that it has been called before
            return
        given = self.init_cfg
        cfgs = _as_list(given)
        pretrained = [cfg for cfg in cfgs if is_pretrained(cfg)]
        self.init_cfg = [cfg for cfg in cfgs if not is_pretrained(cfg)] or None
        try:
            super().init_weights()
        finally:
            self.init_cfg = given
        try:
            for cfg in pretrained:
                load_pretrained(self, cfg, 'model.backbone.init_cfg')
        except CheckpointError:
            self._is_init = False  # a second call must not pass for done
            raise


def _as_list(init_cfg: InitCfg) -> list[Mapping[str, object]]:
    if not init_cfg:
        return []
    return [init_cfg] if isinstance(init_cfg, Mapping | str) else list(init_cfg)


def _make_ours(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Foreign keys, tensors of other sizes; a hook, because mmengine goes around an overridden load_state_dict.

    What :func:`~ss_backbones.load_weights` has made the network's is left as it is.
    """
    inside = [key for key in state_dict if key.startswith(prefix)]
    ours, adapted = adapt({key[len(prefix) :]: state_dict.pop(key) for key in inside}, module)
    state_dict.update({prefix + key: value for key, value in ours.items()})
    for done in adapted:
        print_log(f'{type(module).__name__}: resized {done}', logger='current', level=logging.WARNING)
