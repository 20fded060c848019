"""A local patch interaction with another activation than the one that it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from timm.models.xcit import LPI
from torch import Tensor
from torch.nn import functional as F

_RIDGE = 1e-3  # of the mean square of a channel's features


def fit_local(local: LPI, batches: Callable[[], Iterable[tuple[tuple[int, int], Tensor, Tensor]]]) -> None:
    """Fit the second convolution, channel by channel, about the weights that it has.

    Args:
        local: It; its first convolution is the trained one's.
        batches: Makes batches of a grid, tokens (B, N, C) as the layer gets them, and what is wanted of it (B, N, C).
    """
    conv = local.conv2
    taps = conv.kernel_size[0] * conv.kernel_size[1]
    squares = torch.zeros(conv.out_channels, taps + 1, taps + 1, dtype=torch.float64)
    products = torch.zeros(conv.out_channels, taps + 1, dtype=torch.float64)
    seen: list[Tensor] = []
    hook = conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for grid, tokens, wanted in batches():
        left = (wanted - local(tokens, *grid)).double()
        (features,) = seen
        seen.clear()
        for image, rest in zip(features, left, strict=True):  # one by one, as the neighbourhoods are nine times as much
            near = F.unfold(image.double()[None], conv.kernel_size, padding=conv.padding)[0]
            near = F.pad(near.unflatten(0, (-1, taps)), (0, 0, 0, 1), value=1.0)  # (C, taps + 1, N)
            squares += (near @ near.transpose(1, 2)).cpu()
            products += torch.einsum('ctn,nc->ct', near, rest).cpu()
    hook.remove()
    diagonal = squares.diagonal(dim1=1, dim2=2)
    tiny = torch.finfo(squares.dtype).eps * diagonal.amax().clamp(min=1.0)
    diagonal[:, :-1] += _RIDGE * diagonal[:, :-1].mean(1, keepdim=True)
    diagonal += tiny
    change = torch.linalg.solve(squares, products)
    conv.weight.add_(change[:, :-1].reshape(conv.weight.shape).to(conv.weight))
    conv.bias.add_(change[:, -1].to(conv.bias))
