"""What all backbones of this package do in OpenMMLab: freezing, pretrained weights, contiguous maps."""

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..checkpoints.matching import adapt
from ..errors import CheckpointError
from ..layers.mlp import ALL_ACTIVATIONS
from ..networks import Network
from ..networks.arguments import check_flag
from .pretrained import is_pretrained, load_pretrained

InitCfg = Mapping[str, object] | Sequence[Mapping[str, object]] | None


class Backbone:
    """Goes before a network and mmengine's BaseModule in the bases of a backbone.

    Args:
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages (of a ViT: blocks).
        drop_path_rate: Probability to drop a branch in the last block; it rises linearly over all blocks from 0.
        bf16: Run the backbone alone in bfloat16 (autocast) and return float32 maps. mmcv's operators in necks and heads
            have no bfloat16, and boxes in it would be rounded to 8 pixels at the far side of a 1333 pixel image.
        init_cfg: mmengine's init_cfg. ``dict(type='Pretrained', checkpoint=FILE, prefix=...)`` reads every layout that
            :func:`~ss_backbones.load_weights` knows, and takes its ``use_ema`` and ``partial`` as well.

    The other arguments are those of the network.

    Raises:
        ValueError: An argument is out of its range; the text names it and what is possible.
        TypeError: There is no such argument, or ``arch`` or ``settings`` is of another type.
    """

    unknown_hint = (
        " Arguments that were left over from a base config's backbone, such as depth or pretrained, go with "
        '_delete_=True in backbone=dict(...).'
    )

    def __init__(
        self,
        *network_positional: Any,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.1,
        bf16: bool = False,
        init_cfg: InitCfg = None,
        **network: Any,
    ) -> None:
        super().__init__(*network_positional, drop_path_rate=drop_path_rate, **network)
        count, part = self.count_parts(), self.part_name
        if isinstance(frozen_stages, bool) or not isinstance(frozen_stages, int) or not -1 <= frozen_stages <= count:
            raise ValueError(
                f'frozen_stages={frozen_stages!r} is out of range: -1 freezes nothing, 0 the stem, '
                f'up to {count} the stem and so many {part}.'
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
        self._is_init = False
        self._built_without_values = any(parameter.is_meta for parameter in self.parameters())
        # A list keeps the modules out of the state dict's names.
        self._frozen_parts = [thing for part in self.freezable()[: frozen_stages + 1] for thing in part]
        self.register_load_state_dict_pre_hook(_adapt)
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

        The constructor has initialised all else already, unless it was called under the meta device, which has no
        values.

        Raises:
            CheckpointError: The checkpoint is not given, cannot be read, or does not fit.
        """
        if self.is_init:
            BaseModule.init_weights(self)  # says that it has been called before
            return
        if self._built_without_values:
            Network.init_weights(self)
        given = self.init_cfg
        cfgs = _as_list(given)
        pretrained = [cfg for cfg in cfgs if is_pretrained(cfg)]
        self.init_cfg = [cfg for cfg in cfgs if not is_pretrained(cfg)] or None
        try:
            BaseModule.init_weights(self)
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


def _adapt(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, metadata: Mapping[str, object], *_: object
) -> None:
    """Foreign keys, tensors of other sizes; a hook, because mmengine goes around an overridden load_state_dict.

    What :func:`~ss_backbones.load_weights` has made the network's is left as it is.

    Raises:
        MismatchError: The weights were trained with other activations.
    """
    inside = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
    ours, adapted = adapt(inside, module, metadata.get(ALL_ACTIVATIONS, {}))
    for key in inside:
        del state_dict[prefix + key]
    state_dict.update({prefix + key: value for key, value in ours.items()})
    for done in adapted:
        print_log(f'{type(module).__name__}: resized {done}', logger='current', level=logging.WARNING)
