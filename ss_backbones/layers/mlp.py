"""The MLP of an SS block: own width, activation, ramp and bypass."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..settings import BlockSetting
from .depthwise import DepthwiseMixin
from .second_linear import ProjectGelu, project
from .hooks import is_traced, is_watched

Projection = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
_ACTIVATIONS: dict[str, type[nn.Module]] = {'GELU': nn.GELU, 'ReLU': nn.ReLU}


class Mlp(nn.Module):
    """Linear, activation, fixed ramp, linear; the last hidden channels may go past the second linear.

    Args:
        dim: Channels C in and out.
        setting: The block's numbers; mlp_ratio, mlp_split, act and pos_scale are used.
        drop: Dropout probability after the activation and after the second linear.

    Raises:
        ValueError: The setting leaves the second linear no channel.

    Source: the SS paper; see :class:`~ss_backbones.settings.BlockSetting`.
    """

    def __init__(self, dim: int, setting: BlockSetting, drop: float = 0.0) -> None:
        super().__init__()
        hidden = int(dim * setting.mlp_ratio)
        past = int(dim * setting.mlp_split)
        if hidden <= past:
            raise ValueError(
                f'mlp_ratio={setting.mlp_ratio} makes {hidden} hidden channels out of {dim}, of which {past} go past '
                'the second linear: nothing is left for it. Take a larger mlp_ratio.'
            )
        self.fc1 = nn.Linear(dim, hidden)
        self.act = _ACTIVATIONS[setting.act]()
        self.fc2 = nn.Linear(hidden - past, dim - past)
        self.drop = nn.Dropout(drop)
        if setting.pos_scale > 0:
            # float32 first, as in the official models, whatever the default dtype is.
            ramp = torch.linspace(0, setting.pos_scale, hidden, dtype=torch.float32)
            self.register_buffer('pos_bias', ramp.to(torch.get_default_dtype()))
        else:
            self.pos_bias = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return self.finish(self.fc1(x))

    def finish(self, hidden: Tensor) -> Tensor:
        """What follows the hidden features: activation, ramp and second linear, (..., hidden) to (..., C)."""
        plain_gelu = isinstance(self.act, nn.GELU) and self.act.approximate == 'none' and not is_watched(self.act)
        # compilers decide for themselves what to keep
        if plain_gelu and self.training and hidden.requires_grad and not self.drop.p and not is_traced():
            return self.contract(hidden, ProjectGelu.apply)
        return self.contract(self.act(hidden))

    def contract(self, hidden: Tensor, projection: Projection = project) -> Tensor:
        """Add the ramp and come back to C channels: (..., hidden) to (..., C)."""
        ramp, weight, bias = self.pos_bias, self.fc2.weight, self.fc2.bias
        if ramp is not None and self.training and self.drop.p > 0:
            # Dropout acts on the ramp as well, so here it has to be added to every token.
            hidden, ramp = hidden + ramp, None
        hidden = self.drop(hidden)
        past_shift = None
        if ramp is not None:
            # fc2(h + r) = W h + (b + W r): the constant ramp needs no pass over the hidden tensor.
            bias = bias + torch.mv(weight, ramp[: self.fc2.in_features])
            past_shift = ramp[self.fc2.in_features :]
        out = projection(hidden.reshape(-1, hidden.shape[-1]), weight, bias, past_shift)
        return self.drop(out.reshape(*hidden.shape[:-1], out.shape[1]))


class ConvMlp(DepthwiseMixin, Mlp):
    """An :class:`Mlp` with a depthwise 3 x 3 convolution before the activation, as in PVTv2."""
