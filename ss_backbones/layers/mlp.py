"""The MLP of a block: own width, activation, ramp and bypass, and in PVTv2 a depthwise convolution."""

from typing import ClassVar

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..settings import RAMPS
from .chunking import can_be_cut, chunks_pay, in_row_chunks
from .fast_paths import is_plain, is_symbolic, is_traced
from .projection import ProjectGelu, project

ACTIVATIONS: dict[str, type[nn.Module]] = {'GELU': nn.GELU, 'ReLU': nn.ReLU}
ACTIVATION, ALL_ACTIVATIONS = 'activation', 'activations'  # in the metadata of an MLP's state dict, and of a network's


@fx.wrap  # torch.fx knows no sizes to decide by
def _contract(hidden: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, gelu: bool) -> Tensor:
    """:func:`~ss_backbones.layers.projection.project` for (..., H); ``gelu`` puts GELU before it."""
    projection = ProjectGelu.apply if gelu else project
    out = projection(hidden.reshape(-1, hidden.shape[-1]), weight, bias, shift)
    return out.reshape(*hidden.shape[:-1], out.shape[1])


def depthwise(channels: int) -> nn.Conv2d:
    """A 3 x 3 convolution of each channel by itself that keeps the map's size."""
    return nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)


class HiddenMlp(nn.Module):
    """What MLPs share: a linear layer into the hidden channels and, in some, a depthwise convolution of them.

    A subclass makes ``fc1`` and ``dwconv`` (None for no convolution), and says in :meth:`finish` what follows. Sizes
    are the MLP's own: what somebody puts in a layer's place need not say any.

    Attributes:
        kinds: The classes of all layers inside, as they are built.
        hidden: Hidden channels.
        relu_before_conv: Put a ReLU before the convolution (PVTv2's linear variant).

    Source: ViT (arXiv 2010.11929); the convolution PVTv2 (arXiv 2106.13797).
    """

    kinds: ClassVar[frozenset[type[nn.Module]]] = frozenset({nn.Linear, nn.Conv2d, nn.GELU, nn.ReLU, nn.Dropout})
    hidden: int
    fc1: nn.Linear
    dwconv: nn.Conv2d | None
    relu_before_conv: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C); with a convolution (B, H, W, C) to (B, H, W, C)."""
        if not is_symbolic(x) and x.ndim == 4 and chunks_pay(self, x, self.kinds) and self._looks_near():
            return in_row_chunks(self.of_rows, x, halo=self.halo, channels=self.hidden)
        return self.of_rows(x)

    @property
    def halo(self) -> int:
        """How many rows above and below a row of a map its result depends on."""
        return 0 if self.dwconv is None else 1

    def _looks_near(self) -> bool:
        """Of layers that are the kinds that are expected: whether the halo is enough."""
        return self.dwconv is None or self.dwconv.kernel_size == (3, 3)

    def may_be_recomputed(self, x: Tensor) -> bool:
        """Whether the backward pass may compute the MLP of a map again some rows at a time, with the same numbers."""
        dropping = any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in self.children())
        own = 'forward' not in vars(self) and type(self).forward is HiddenMlp.forward
        return own and x.ndim == 4 and not dropping and can_be_cut(self, self.kinds) and self._looks_near()

    def of_rows(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """As :meth:`forward`; ``rows`` keeps those alone of a map in what comes out."""
        hidden = self.fc1(x)
        if self.dwconv is not None:
            hidden = self.convolve(hidden)
        return self.finish(hidden if rows is None else hidden[:, rows])

    def convolve(self, hidden: Tensor) -> Tensor:
        """The depthwise convolution, and the ReLU before it: (B, H, W, hidden) to (B, H, W, hidden)."""
        if self.relu_before_conv:
            hidden = F.relu(hidden)
        # Both permutes are views: channels-last tokens are a channels-last image.
        return self.dwconv(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def finish(self, hidden: Tensor) -> Tensor:
        """What follows the hidden features: (..., hidden) to (..., C)."""
        raise NotImplementedError


def _note_activation(mlp: 'Mlp', state_dict: object, prefix: str, metadata: dict[str, object]) -> None:
    """Say in the metadata of a state dict what no tensor tells, as weights for one activation are none for another."""
    if mlp.activation is not None:
        metadata[ACTIVATION] = mlp.activation


class Mlp(HiddenMlp):
    """Linear, activation, ramp, linear; the last hidden channels may bypass the second linear.

    The ramp r = ``linspace(0, ramp, hidden)`` of the SS paper is fixed, and added to the hidden features h after the
    activation. As fc2(h + r) = W h + (b + W r), it is a bias in what the MLP computes. In training it is more: the
    gradient of W has r times the gradient of the bias in it, which is larger than what the features add. So there are
    three ways to train the same MLP, by ``ramp_as``:

    - 'paper': r is a buffer, ``pos_bias``.
    - 'bias': r is nowhere, and ``pos_bias`` has no entries. The second linear's bias starts as b + W r, and what
      bypasses that linear has a bias of its own, ``bypass_bias``, which starts as r's part there. Both are learned.
    - 'none': the same, and both start without r.

    The loader turns the weights of each into those of the others; see :mod:`ss_backbones.checkpoints.ramps`.

    Args:
        dim: Channels C in and out.
        hidden: Hidden channels.
        act: 'GELU' or 'ReLU'.
        bypass: How many hidden channels, the last ones, bypass the second linear and are the last channels that leave.
        ramp: End of the ramp; 0 for none, and then ``ramp_as`` says nothing.
        ramp_as: 'paper', 'bias' or 'none'.
        conv: Put a depthwise 3 x 3 convolution before the activation; tokens then are maps (B, H, W, C).
        relu_before_conv: Put a ReLU before that.
        drop: Dropout probability after the activation and after the second linear.

    Attributes:
        bypass: As given.
        pos_bias: (hidden,), the fixed ramp; (0,), where it is in the biases; None without a ramp, or folded.
        bypass_bias: (bypass,), the learned bias of what bypasses the second linear, or None.
        past_bias: (C,), what a folded model adds to the channels that leave through the bypass, or None.

    Raises:
        ValueError: A word is unknown, the ramp falls, or the bypass leaves the second linear no channel.

    Source: the SS paper; see :class:`~ss_backbones.settings.BlockSetting`.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        act: str = 'GELU',
        bypass: int = 0,
        ramp: float = 0.0,
        ramp_as: str = 'paper',
        conv: bool = False,
        relu_before_conv: bool = False,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        for name, word, known in (('act', act, ACTIVATIONS), ('ramp_as', ramp_as, RAMPS)):
            if word not in known:
                raise ValueError(f'{name}={word!r} is not known; take one of {", ".join(known)}.')
        if ramp < 0:
            raise ValueError(f'ramp={ramp} must be 0 (no ramp) or above.')
        if not 0 <= bypass < dim:
            raise ValueError(
                f'bypass={bypass} of the {dim} channels that leave the MLP cannot skip the second linear: take 0 or '
                'more, and fewer than all.'
            )
        if hidden <= bypass:
            raise ValueError(
                f'The setting makes {hidden} hidden channels out of {dim}, of which {bypass} bypass the second linear: '
                'nothing is left for it. Take a larger mlp_ratio, or hidden.'
            )
        self.hidden, self.bypass = hidden, bypass
        self.fc1 = nn.Linear(dim, hidden)
        self.act = ACTIVATIONS[act]()
        self.fc2 = nn.Linear(hidden - bypass, dim - bypass)
        self.drop = nn.Dropout(drop)
        self.ramp, self.ramp_as = ramp, ramp_as
        learned = ramp > 0 and ramp_as != 'paper'
        # Without entries it makes any loader refuse the weights of an MLP that holds its ramp otherwise.
        self.register_buffer('pos_bias', torch.empty(0) if learned else self.expected_ramp())
        self.register_buffer('past_bias', None)
        self.bypass_bias = nn.Parameter(torch.empty(bypass)) if learned and bypass else None
        self.start_ramp()
        self.dwconv = depthwise(hidden) if conv else None
        self.relu_before_conv = relu_before_conv
        self.register_state_dict_post_hook(_note_activation)

    @property
    def activation(self) -> str | None:
        """'GELU' or 'ReLU'; None where somebody has put another layer there."""
        return next((name for name, cls in ACTIVATIONS.items() if type(self.act) is cls), None)

    def expected_ramp(self) -> Tensor | None:
        """(hidden,), the ramp that follows from the numbers, whatever stands in the buffer; None without one."""
        if self.ramp <= 0:
            return None
        # float32 first, as in the official models, whatever the default dtype is.
        ramp = torch.linspace(0, self.ramp, self.hidden, dtype=torch.float32)
        return ramp.to(torch.get_default_dtype())

    def has_fixed_ramp(self) -> bool:
        """Whether a ramp is added to the hidden features."""
        return self.pos_bias is not None and self.ramp_as == 'paper'

    @torch.no_grad()
    def start_ramp(self) -> None:
        """Put the ramp into the biases where it belongs there, after the second linear was initialised."""
        if self.ramp <= 0 or self.ramp_as == 'paper' or self.fc2.weight.is_meta:
            return
        inner, share = self.fc2.in_features, float(self.ramp_as == 'bias')
        ramp = share * self.expected_ramp().to(self.fc2.weight)
        self.fc2.bias.add_(self.fc2.weight @ ramp[:inner])
        if self.bypass_bias is not None:
            self.bypass_bias.copy_(ramp[inner:])

    def features(self, x: Tensor) -> Tensor:
        """What the activation returns, without the ramp: tokens, as :meth:`forward` gets them, to (..., hidden)."""
        hidden = self.fc1(x)
        if self.dwconv is not None:
            hidden = self.convolve(hidden)
        return self.act(hidden)

    @torch.no_grad()
    def reset_buffers(self) -> None:
        """Write the ramp anew, which is no parameter and which nothing else initialises."""
        if self.has_fixed_ramp():
            with self.pos_bias.device:
                self.pos_bias.copy_(self.expected_ramp())

    def finish(self, hidden: Tensor) -> Tensor:
        """Activation, ramp and second linear: (..., hidden) to (..., C)."""
        dropping = self.training and self.drop.p > 0
        # Dropout acts on the ramp as well, so there it has to be added to every token.
        if not is_plain(self.fc2, nn.Linear) or (dropping and self.has_fixed_ramp()):
            return self._finish_by_layers(hidden)
        # compilers decide for themselves what to keep
        traced = is_symbolic(hidden) or is_traced()
        gelu = not traced and self.training and hidden.requires_grad and not dropping and self._has_plain_gelu()
        if not gelu:
            hidden = self.drop(self.act(hidden))
        bias, shift = self.fc2.bias, None
        if self.has_fixed_ramp():
            # fc2(h + r) = W h + (b + W r): the constant ramp needs no pass over the hidden tensor.
            inner = self.fc2.in_features
            bias, shift = bias + torch.mv(self.fc2.weight, self.pos_bias[:inner]), self.pos_bias[inner:]
        elif self.past_bias is not None:
            shift = self.past_bias[self.fc2.out_features :]
        elif self.bypass_bias is not None:
            shift = self.bypass_bias
        return self.drop(_contract(hidden, self.fc2.weight, bias, shift, gelu))

    def _has_plain_gelu(self) -> bool:
        """Whether GELU and the dropout around it, which drops nothing, may be computed elsewhere."""
        return is_plain(self.act, nn.GELU) and self.act.approximate == 'none' and is_plain(self.drop, nn.Dropout)

    def _finish_by_layers(self, hidden: Tensor) -> Tensor:
        """The same by calling every layer: what stands in the second linear's place need not be linear at all."""
        hidden = self.act(hidden)
        if self.has_fixed_ramp():
            hidden = hidden + self.pos_bias.to(hidden.dtype)
        hidden = self.drop(hidden)
        if not self.bypass:
            return self.drop(self.fc2(hidden))
        inner = self.hidden - self.bypass
        bypass = hidden[..., inner:]
        if self.past_bias is not None:
            bypass = bypass + self.past_bias[-self.bypass :].to(bypass.dtype)
        elif self.bypass_bias is not None:
            bypass = bypass + self.bypass_bias.to(bypass.dtype)
        return self.drop(torch.cat((self.fc2(hidden[..., :inner]), bypass), dim=-1))

    def fold_ramp(self) -> None:
        """Put the ramp into the second linear's bias, for inference; for the bypass it stays a constant."""
        if not self.has_fixed_ramp():
            self.pos_bias = None
            return
        inner = self.fc2.in_features
        exact = self.pos_bias.double().cpu() if not self.pos_bias.is_meta else self.pos_bias.double()
        weight, bias = (t.detach().to(exact) for t in (self.fc2.weight, self.fc2.bias))
        self.fc2.bias = nn.Parameter((bias + weight @ exact[:inner]).to(self.fc2.bias), requires_grad=False)
        if inner < len(exact):
            self.past_bias = F.pad(self.pos_bias[inner:], (self.fc2.out_features, 0))
        self.pos_bias = None


def activations_of(module: nn.Module) -> dict[str, str]:
    """The activation of every MLP inside, by its name; without those where somebody has put another layer."""
    found = {name: part.activation for name, part in module.named_modules() if isinstance(part, Mlp)}
    return {name: act for name, act in found.items() if act is not None}
