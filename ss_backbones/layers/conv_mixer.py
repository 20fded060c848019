"""Bottleneck convolutions in the place of attention, made of an attention's values and output projection."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

SIDES = {'conv1x1': 1, 'conv3x3': 3}  # of the kernels, by the word that a setting has for the mixer
_PLACES = 9  # of a 3 x 3 kernel
_CENTRE = 4


@dataclass(frozen=True)
class HeadMixing:
    """How the heads of a family's attention become the places of a convolution's kernel.

    Args:
        temperature: What the logits of the heads are divided by before the softmax.
        columns: Which column of the logits belongs to each place of a 3 x 3 kernel, with the places counted from
            the top down and then to the right. That of the centre makes a 1 x 1 kernel.

    Source: the official code of SPViT.
    """

    temperature: float
    columns: tuple[int, ...] = tuple(range(_PLACES))

    def shares(self, logits: Tensor, side: int) -> Tensor:
        """Logits (heads, 9) to the share of each head in each place (heads, places)."""
        columns = torch.softmax(logits / self.temperature, dim=0).unbind(1)
        return torch.stack([columns[i] for i in (self.columns if side == 3 else (self.columns[_CENTRE],))], dim=1)


@fx.wrap  # torch.fx knows no sizes
def mix_values(weight: Tensor, bias: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """The linear layer of all heads' values as one convolution.

    Args:
        weight: (heads * D, C).
        bias: (heads * D,).
        shares: (heads, places), of each head in each place, see :class:`HeadMixing`.

    Returns:
        A kernel (D, C, side, side) and a bias (D,).
    """
    side, heads = math.isqrt(shares.shape[1]), (len(shares), -1)
    kernel = torch.einsum('hp,hdc->dcp', shares, weight.unflatten(0, heads))
    return kernel.unflatten(2, (side, side)).transpose(2, 3), (bias.unflatten(0, heads) * shares.sum(1)[:, None]).sum(0)


@fx.wrap
def mix_projection(weight: Tensor, shares: Tensor) -> Tensor:
    """The projection of all heads (C, heads * D) as that of one convolution's channels, (C, D, 1, 1)."""
    by_head = weight.unflatten(1, (len(shares), -1))
    return torch.einsum('h,chd->cd', shares.sum(1), by_head)[:, :, None, None]


class HeadLayer(nn.Module):
    """A linear layer of C to C channels, of which it computes with a mixture of the heads' weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, dim))
        self.bias = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    reset_parameters = nn.Linear.reset_parameters

    def extra_repr(self) -> str:
        """As torch's layers say it."""
        return f'dim={self.weight.shape[0]}'


class HeadValues(HeadLayer):
    """The values of an attention's heads, mixed to one convolution.

    Args:
        dim: Channels C in, and of all heads.

    Source: SPViT, see :class:`SharedConvMixer`.
    """

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, H, W) with the shares (heads, places) of :class:`HeadMixing`."""
        kernel, bias = mix_values(self.weight, self.bias, shares)
        return F.conv2d(x, kernel, bias, padding='same')


class HeadProjection(HeadLayer):
    """The output projection of an attention's heads, mixed to that of one convolution.

    Args:
        dim: Channels C of all heads, and out.

    Source: SPViT, see :class:`SharedConvMixer`.
    """

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """(B, D, H, W) to (B, C, H, W) with the shares (heads, places) of :class:`HeadMixing`."""
        return F.conv2d(x, mix_projection(self.weight, shares), self.bias)


class ConvMixer(nn.Module):
    """A bottleneck convolution over the map of patches: into few channels, BatchNorm, ReLU, and back.

    A class token before the patches leaves it as it came. Convolutions take no part in windows.

    Args:
        proj_drop: Dropout probability of what leaves.

    Source: He et al., "Pruning Self-attentions into Convolutional Layers in Single Path" (SPViT), TPAMI 2024.
    """

    def __init__(self, proj_drop: float) -> None:
        super().__init__()
        self.proj_drop = nn.Dropout(proj_drop)

    def convolve(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(B, H, W, C) to (B, H, W, C); with the height and width in patches (B, N, C) to (B, N, C)."""
        patches = x if grid is None else patches_of(x, grid)
        # Both permutes are views: channels-last tokens are a channels-last image.
        out = self.proj_drop(self.convolve(patches.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return out if grid is None else behind_others(out, x, grid)


@fx.wrap  # torch.fx knows no sizes
def patches_of(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """The patches of tokens (B, N, C) as a map (B, H, W, C), without the class token, if any, before them."""
    return x[:, x.shape[1] - grid[0] * grid[1] :].unflatten(1, grid)


@fx.wrap
def behind_others(out: Tensor, x: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map (B, H, W, C) as tokens, behind what stands before the patches in ``x`` (B, N, C)."""
    prefix = x.shape[1] - grid[0] * grid[1]
    patches = out.flatten(1, 2)
    return torch.cat((x[:, :prefix].to(out.dtype), patches), dim=1) if prefix else patches


class SharedConvMixer(ConvMixer):
    """The form that is trained: both layers are mixtures of the heads of an attention's values and projection.

    So it starts as what an attention has learned, and a search shares these weights between attention and
    convolutions.

    Args:
        dim: Channels C in and out.
        num_heads: Heads; the bottleneck has the channels of one.
        side: Side of the kernel, 1 or 3.
        mixing: How the heads become the places of the kernel.
        proj_drop: See :class:`ConvMixer`.

    Attributes:
        head_probs: (num_heads, 9), the learned logits of the heads' shares.

    Source: SPViT, see :class:`ConvMixer`. State-dict keys are those of the official checkpoints.
    """

    def __init__(self, dim: int, num_heads: int, side: int, mixing: HeadMixing, proj_drop: float = 0.0) -> None:
        super().__init__(proj_drop)
        self.side, self.mixing = side, mixing
        self.head_probs = nn.Parameter(torch.ones(num_heads, _PLACES))
        self.v = HeadValues(dim)
        self.add_module(norm_name(side), nn.BatchNorm2d(dim // num_heads))
        self.proj = HeadProjection(dim)

    def reset_parameters(self) -> None:
        """Give every head the same share."""
        nn.init.ones_(self.head_probs)

    @property
    def norm(self) -> nn.BatchNorm2d:
        """The norm of the bottleneck."""
        return getattr(self, norm_name(self.side))

    def convolve(self, x: Tensor) -> Tensor:
        """See :class:`ConvMixer`."""
        shares = self.mixing.shares(self.head_probs, self.side)
        return self.proj(F.relu(self.norm(self.v(x, shares))), shares)

    def fused(self) -> 'FusedConvMixer':
        """The form for inference with this one's numbers, in evaluation mode; its parameters need no gradient."""
        width, dim = self.norm.num_features, len(self.proj.bias)
        with self.proj.bias.device:
            fused = FusedConvMixer(dim, width, self.side, self.proj_drop.p).to(self.proj.bias.dtype)
        tensors = fuse_tensors(self.state_dict(), self.side, self.mixing)
        fused.load_state_dict(tensors, assign=True)
        return fused.requires_grad_(False).eval()


class FusedConvMixer(ConvMixer):
    """The form for inference: two convolutions with a BatchNorm and a ReLU between.

    Args:
        dim: Channels C in and out.
        width: Channels of the bottleneck.
        side: Side of the kernel, 1 or 3.
        proj_drop: See :class:`ConvMixer`.

    Source: SPViT, see :class:`ConvMixer`. State-dict keys are those of the official fused checkpoints.
    """

    def __init__(self, dim: int, width: int, side: int, proj_drop: float = 0.0) -> None:
        super().__init__(proj_drop)
        self.side = side
        self.bconv = nn.Sequential(
            nn.Conv2d(dim, width, side, padding=side // 2), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, dim, 1)
        )

    def convolve(self, x: Tensor) -> Tensor:
        """See :class:`ConvMixer`."""
        return self.bconv(x)


class Skip(nn.Identity):
    """Nothing in the place of attention: what comes in goes out, so that the block adds its first norm's output.

    Source: the official code of SPViT, as it fine-tunes.
    """

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """The tokens as they are."""
        return x


def norm_name(side: int) -> str:
    """What the norm inside a :class:`SharedConvMixer` is called."""
    return f'bn_{side}x{side}'


def fuse_tensors(tensors: Mapping[str, Tensor], side: int, mixing: HeadMixing) -> dict[str, Tensor]:
    """The state dict of a :class:`SharedConvMixer` as that of the :class:`FusedConvMixer` that computes the same.

    It is computed in float64, which not every accelerator has; dtypes and devices stay as they are.
    """
    names = ('head_probs', 'v.weight', 'v.bias', 'proj.weight')
    logits, weight, bias, projection = (_exact(tensors[name]) for name in names)
    shares = mixing.shares(logits, side)
    kernel, shift = mix_values(weight, bias, shares)
    fused = {
        'bconv.0.weight': kernel.contiguous().to(tensors['v.weight']),
        'bconv.0.bias': shift.to(tensors['v.bias']),
        'bconv.3.weight': mix_projection(projection, shares).to(tensors['proj.weight']),
        'bconv.3.bias': tensors['proj.bias'],
    }
    start = f'{norm_name(side)}.'
    return fused | {f'bconv.1.{k.removeprefix(start)}': value for k, value in tensors.items() if k.startswith(start)}


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().to('meta' if tensor.is_meta else 'cpu', torch.float64)
