"""SS's token split: the last share of the tokens goes past attention's output projection."""

import torch
from torch import Tensor, nn


def project_first(proj: nn.Linear, x: Tensor, share_past: float) -> Tensor:
    """Project all tokens but the last int(N * share_past), (B, N, D) to (B, N, C); a share above 0 needs D = C."""
    tokens = x.shape[1]
    past = int(tokens * share_past)
    if not past:
        return proj(x)
    first, last = x.split((tokens - past, past), dim=1)
    return torch.cat((proj(first), last), dim=1)
