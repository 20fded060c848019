"""A linear layer fitted anew about the weights that it has, and the features that it needs most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

STRENGTHS = tuple(10.0**power for power in range(1, -7, -1))  # of the ridge, as multiples of the mean square feature
MOST_TOKENS = 196  # of an image; more of them tell little more, and cost time
_CHECKED = 5  # one of every so many images is for choosing among them


@dataclass
class _Sums:
    """Sums over tokens, in float64: features' f f' (F, F), products' f r' (F, Y), and squares' r r (Y,)."""

    features: Tensor
    products: Tensor
    squares: Tensor
    tokens: int = 0

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


class Regression:
    """A linear layer's weight W and bias for given features f and targets y, near the W0 and bias that it has.

    Minimised is, over all tokens and with the bias as the weight of one more feature that is 1 and has no penalty::

        sum |y - W f|^2 + strength * mean(sum f^2) * |W - W0|^2

    So where the layer already gives the targets it stays as it is, and where few tokens speak it stays near. The
    strength is the one of :data:`STRENGTHS` that leaves the least error on every fifth image when the others are
    fitted; all images are fitted then.

    Of an image with many tokens so many are taken by chance as :data:`MOST_TOKENS` says.

    Args:
        weight: (Y, F), W0.
        bias: (Y,), the bias that the layer has.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight, bias.to(weight)
        self._known = torch.cat((weight.double(), bias.double()[:, None]), dim=1).cpu()
        self._fitted, self._checked = (
            _Sums(*(self._known.new_zeros(shape) for shape in ((count, count), (count, targets), (targets,))))
            for targets, count in (self._known.shape, self._known.shape)
        )
        self._images = 0
        self._generator = torch.Generator().manual_seed(0)

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Take in some images.

        Args:
            features: (B, ..., F).
            targets: (B, ..., Y).
        """
        features, targets = (x.flatten(1, -2) for x in (features, targets))
        if features.shape[1] > MOST_TOKENS:
            some = torch.randperm(features.shape[1], generator=self._generator)[:MOST_TOKENS].to(features.device)
            features, targets = features[:, some], targets[:, some]
        # what is left over is computed token by token: a difference of sums would round to more than it is
        left = targets - F.linear(features, self._weight, self._bias)
        checked = torch.arange(self._images, self._images + len(left), device=left.device) % _CHECKED == _CHECKED - 1
        self._images += len(left)
        for sums, taken in ((self._checked, checked), (self._fitted, ~checked)):
            f, r = features[taken].flatten(0, 1), left[taken].flatten(0, 1)
            f, r = F.pad(f, (0, 1), value=1.0).double(), r.double()
            sums.features += (f.t() @ f).cpu()
            sums.products += (f.t() @ r).cpu()
            sums.squares += r.square().sum(0).cpu()
            sums.tokens += len(f)

    def choose(self, count: int) -> Tensor:
        """The features that serve best when there are only so many: their numbers (count,), rising.

        From all of them the one is taken away, again and again, without which the least error is added after all
        others have been fitted anew.

        Source: optimal brain surgeon (Hassibi and Stork, NeurIPS 1992) for whole columns.
        """
        sums, total = self._fitted + self._checked, self._weight.shape[1]
        if count >= total:
            return torch.arange(total)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(_ridge(sums.features, self._strength(None))))
        weight = self._known + (inverse @ sums.products).t()
        left = torch.ones(total + 1, dtype=torch.bool)
        for _ in range(total - count):
            price = weight.square().sum(0) / inverse.diagonal()
            price[~left], price[-1] = torch.inf, torch.inf  # the bias stays
            worst = int(price.argmin())
            step = inverse[worst] / inverse[worst, worst]
            weight -= torch.outer(weight[:, worst], step)
            inverse -= torch.outer(inverse[:, worst], step)
            left[worst] = False
            inverse[worst, worst] = 1.0  # of no more use, but not to be divided by 0
        return left[:-1].nonzero()[:, 0]

    def solve(self, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The weight (Y, kept) and the bias (Y,) in float64, for the features with these numbers, or for all."""
        indices = self._indices(kept)
        change = _change(*self._about(self._fitted + self._checked, indices)[:2], self._strength(kept))
        weight = self._known[:, indices] + change
        return weight[:, :-1], weight[:, -1]

    def _indices(self, kept: Tensor | None) -> Tensor:
        """The kept features and the 1 after the last feature."""
        total = self._weight.shape[1]
        return torch.arange(total + 1) if kept is None else F.pad(kept, (0, 1), value=total)

    def _about(self, sums: _Sums, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sums of the kept features, with what the lost ones gave added to what is left over."""
        lost = self._known.clone()
        lost[:, indices] = 0
        moved = sums.features @ lost.t()
        products = sums.products + moved
        squares = sums.squares + 2 * (lost.t() * sums.products).sum(0) + (lost.t() * moved).sum(0)
        return sums.features[indices][:, indices], products[indices], squares

    def _strength(self, kept: Tensor | None) -> float:
        indices = self._indices(kept)
        fitted, products, _ = self._about(self._fitted, indices)
        features, wanted, squares = self._about(self._checked, indices)
        if not self._checked.tokens:
            return STRENGTHS[0]

        def error(strength: float) -> float:
            change = _change(fitted, products, strength)
            return (squares.sum() - 2 * (change.t() * wanted).sum() + (change @ features * change).sum()).item()

        return min(STRENGTHS, key=error)


def _ridge(features: Tensor, strength: float) -> Tensor:
    """(F + 1, F + 1), the sums of products of features with the penalty on the diagonal."""
    diagonal = features.diagonal().clone()
    tiny = torch.finfo(features.dtype).eps * diagonal.max().clamp(min=1.0)  # keeps the matrix regular where all are 0
    diagonal[:-1] = strength * diagonal[:-1].mean() + tiny
    diagonal[-1] = tiny
    return features + diagonal.diag()


def _change(features: Tensor, products: Tensor, strength: float) -> Tensor:
    """(Y, F + 1), what is best added to the weight and the bias."""
    return torch.cholesky_solve(products, torch.linalg.cholesky(_ridge(features, strength))).t()
