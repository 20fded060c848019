"""The fits that inheriting is made of, against plain re-computations in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ss_backbones.compress.least_squares import MOST_TOKENS, STRENGTHS, Regression
from ss_backbones.compress.low_rank import query_key_pair, value_projection_pair

pytestmark = pytest.mark.usefixtures('float64')

FEATURES, TARGETS = 7, 3


def example(images: int, tokens: int = 4, noise: float = 0.5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Correlated features, targets, and a weight and a bias that are near to what makes these."""
    features = torch.randn(images, tokens, FEATURES) @ torch.randn(FEATURES, FEATURES) + 1
    weight, bias = torch.randn(TARGETS, FEATURES), torch.randn(TARGETS)
    targets = features @ (weight + 0.3 * torch.randn_like(weight)).t() + bias + 1
    return features, targets + noise * torch.randn_like(targets), weight, bias


def fitted(features: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, strength: float) -> Tensor:
    """(Y, F + 1) by numpy's least squares: the penalty is so many more tokens, whose targets are those of W0."""
    f = torch.cat((features.flatten(0, 1), torch.ones(features[..., 0].numel(), 1)), dim=1)
    root = (strength * (features.flatten(0, 1) ** 2).sum(0).mean()).sqrt()
    rows = torch.cat((root * torch.eye(features.shape[-1]), torch.zeros(features.shape[-1], 1)), dim=1)
    wanted = torch.cat((targets.flatten(0, 1), root * weight.t()))
    return torch.from_numpy(np.linalg.lstsq(torch.cat((f, rows)).numpy(), wanted.numpy(), rcond=None)[0]).t()


def chosen_strength(features: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> float:
    checked = torch.arange(len(features)) % 5 == 4
    errors = {}
    for strength in STRENGTHS:
        found = fitted(features[~checked], targets[~checked], weight, bias, strength)
        left = targets[checked] - features[checked] @ found[:, :-1].t() - found[:, -1]
        errors[strength] = left.square().sum()
    return min(errors, key=errors.get)


@pytest.mark.parametrize(('images', 'noise'), [(40, 0.5), (6, 3.0), (200, 0.01)])
def test_a_layer_is_fitted_about_the_weight_it_has(images: int, noise: float) -> None:
    features, targets, weight, bias = example(images, noise=noise)
    regression = Regression(weight, bias)
    for f, y in zip(features.split(3), targets.split(3), strict=True):
        regression.add(f, y)
    strength = chosen_strength(features, targets, weight, bias)
    found = torch.cat([part.reshape(TARGETS, -1) for part in regression.solve()], dim=1)
    torch.testing.assert_close(found, fitted(features, targets, weight, bias, strength), rtol=1e-9, atol=1e-9)


def test_what_is_lost_with_features_is_made_up_for() -> None:
    features, targets, weight, bias = example(40)
    regression, kept = Regression(weight, bias), torch.tensor([0, 2, 3, 6])
    regression.add(features, targets)
    strength = chosen_strength(features[..., kept], targets, weight[:, kept], bias)
    found = torch.cat([part.reshape(TARGETS, -1) for part in regression.solve(kept)], dim=1)
    expected = fitted(features[..., kept], targets, weight[:, kept], bias, strength)
    # the mean that the penalty goes by is that of the features which are fitted
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_features_are_given_up_where_the_least_is_lost() -> None:
    features, targets, weight, bias = example(60)
    regression = Regression(weight, bias)
    regression.add(features, targets)
    strength = chosen_strength(features, targets, weight, bias)
    root = (strength * (features.flatten(0, 1) ** 2).sum(0).mean()).sqrt()

    def loss(kept: list[int]) -> float:
        """The least that can be left over: of the tokens, and of the penalty for all features."""
        f = torch.cat((features.flatten(0, 1), torch.ones(features[..., 0].numel(), 1)), dim=1)
        rows = torch.cat((root * torch.eye(FEATURES), torch.zeros(FEATURES, 1)), dim=1)
        a = torch.cat((f, rows))[:, [*kept, FEATURES]]
        y = torch.cat((targets.flatten(0, 1), root * weight.t()))
        return (a @ torch.linalg.lstsq(a, y).solution - y).square().sum().item()

    kept = list(range(FEATURES))
    while len(kept) > 3:
        kept.remove(min(kept, key=lambda i: loss([k for k in kept if k != i])))
    assert regression.choose(3).tolist() == kept
    assert regression.choose(FEATURES).tolist() == list(range(FEATURES))


def test_nothing_changes_where_nothing_is_left_over() -> None:
    features, _, weight, bias = example(20)
    regression = Regression(weight, bias)
    regression.add(features, torch.nn.functional.linear(features, weight, bias))
    found = regression.solve()
    assert torch.equal(found[0], weight)
    assert torch.equal(found[1], bias)


def test_a_feature_that_is_always_zero_does_no_harm() -> None:
    features, targets, weight, bias = example(20)
    features[..., 2] = 0
    regression = Regression(weight, bias)
    regression.add(features, targets)
    assert all(part.isfinite().all() for part in regression.solve())
    assert 2 not in regression.choose(3)


def test_of_many_tokens_some_are_taken() -> None:
    features, targets, weight, bias = example(30, tokens=3 * MOST_TOKENS)
    regression = Regression(weight, bias)
    regression.add(features, targets)
    assert regression._fitted.tokens + regression._checked.tokens == 30 * MOST_TOKENS
    found, shift = regression.solve()
    left = (targets - features @ found.t() - shift).square().mean()
    all_tokens = torch.cat((features, torch.ones_like(targets[..., :1])), dim=-1).flatten(0, 1)
    least = targets.flatten(0, 1) - all_tokens @ torch.linalg.lstsq(all_tokens, targets.flatten(0, 1)).solution
    assert least.square().mean() < left < 1.01 * least.square().mean()


def head(count: int = 500, width: int = 6) -> tuple[Tensor, Tensor]:
    """Queries and keys of several sizes."""
    return torch.randn(count, width) @ torch.randn(width, width), torch.randn(count, width) @ torch.randn(width, width)


@pytest.mark.parametrize('rank', [1, 4, 6])
def test_queries_and_keys_lose_no_more_than_any_of_their_rank_must(rank: int) -> None:
    q, k = head()
    for_q, for_k = query_key_pair(q.t() @ q / len(q), k.t() @ k, rank)
    assert for_q.shape == for_k.shape == (rank, 6)
    products = q @ k.t()  # of all queries with all keys
    singular = np.linalg.svd(products.numpy(), compute_uv=False)
    left = (products - (q @ for_q.t()) @ (k @ for_k.t()).t()).square().sum().item()
    assert left == pytest.approx((singular[rank:] ** 2).sum(), rel=1e-9, abs=1e-9 * (singular**2).sum())


def test_queries_and_keys_of_a_head_that_uses_few_channels() -> None:
    q, k = head()
    q[:, 3:], k[:, :2] = 0, 0
    for_q, for_k = query_key_pair(q.t() @ q / len(q), k.t() @ k, 3)
    torch.testing.assert_close((q @ for_q.t()) @ (k @ for_k.t()).t(), q @ k.t())


@pytest.mark.parametrize('rank', [1, 4, 6])
def test_values_and_projections_lose_no_more_than_any_of_their_rank_must(rank: int) -> None:
    outputs, projection = torch.randn(500, 6) @ torch.randn(6, 6), torch.randn(9, 6)
    for_v, new = value_projection_pair(outputs.t() @ outputs, projection, rank)
    assert for_v.shape == (rank, 6)
    projected = outputs @ projection.t()
    singular = np.linalg.svd(projected.numpy(), compute_uv=False)
    left = (projected - outputs @ for_v.t() @ new.t()).square().sum().item()
    assert left == pytest.approx((singular[rank:] ** 2).sum(), rel=1e-9, abs=1e-9 * (singular**2).sum())
