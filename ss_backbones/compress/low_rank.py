"""Narrower attention heads: the pairs of matrices of low rank that change least of what a head computes."""

import torch
from torch import Tensor


def query_key_pair(queries: Tensor, keys: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The maps A and B (rank, D) of a head's queries q and keys k for which (A q)'(B k) is nearest to q'k.

    Nearest in the mean square over the tokens that the moments are of. The queries that A gives are as large as the
    keys that B gives. A part of the keys that is the same for all of an image changes nothing in a softmax over them.

    Args:
        queries: (D, D), the mean of q q'.
        keys: (D, D), the mean of k k', each k about its mean in its image.
        rank: Channels of the new head, at most D.
    """
    values, vectors = torch.linalg.eigh(queries)
    values = values.clamp(min=0).sqrt()
    root = vectors * values @ vectors.t()
    seen = values > values.max() * torch.finfo(values.dtype).eps ** 0.5
    inverse = vectors[:, seen] / values[seen] @ vectors[:, seen].t()
    strengths, directions = torch.linalg.eigh(root @ keys @ root)  # squares of the products' singular values
    strengths, directions = strengths.flip(0)[:rank], directions.flip(1)[:, :rank]
    scale = strengths.clamp(min=0) ** 0.25
    seen = scale > scale.max() * torch.finfo(values.dtype).eps ** 0.25
    back = torch.where(seen, 1 / torch.where(seen, scale, 1), 1)[:, None]
    return torch.where(seen, scale, 1)[:, None] * (directions.t() @ inverse), back * (directions.t() @ root)


def value_projection_pair(outputs: Tensor, projection: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The map A (rank, D) of a head's values and the projection B (C, rank) for which B A o is nearest to P o.

    Args:
        outputs: (D, D), the covariance of the head's outputs o, means of values; a mean of P o goes into the bias.
        projection: (C, D), P, the head's part of the output projection.
        rank: Channels of the new head, at most D.
    """
    # B B' projects on the strongest directions of P o, so A is B' P
    _, vectors = torch.linalg.eigh(projection @ outputs @ projection.t())
    strongest = vectors.flip(1)[:, :rank]
    return strongest.t() @ projection, strongest
