"""The pyramid on a ViT's one map, pixel by pixel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ss_backbones.layers import SimpleFeaturePyramid


def plain_doubling(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A transposed 2 x 2 convolution with stride 2, pixel by pixel."""
    b, _, h, w = x.shape
    out = x.new_zeros(b, conv.out_channels, 2 * h, 2 * w)
    for i in range(2 * h):
        for j in range(2 * w):
            out[:, :, i, j] = x[:, :, i // 2, j // 2] @ conv.weight[:, :, i % 2, j % 2] + conv.bias
    return out


def test_the_pyramid_is_the_plain_one() -> None:
    pyramid = SimpleFeaturePyramid(12, range(4)).double()
    for parameter in pyramid.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 12, 3, 5, dtype=torch.float64)
    finest = pyramid.levels['0']
    half = plain_doubling(finest[0], x)
    mean, var = half.mean(1, keepdim=True), half.var(1, keepdim=True, unbiased=False)
    scaled = (half - mean) / (var + 1e-6).sqrt() * finest[1].weight[:, None, None] + finest[1].bias[:, None, None]
    lowest = torch.stack(
        [
            torch.stack([x[:, :, i : i + 2, j : j + 2].amax(dim=(2, 3)) for j in range(0, 5, 2)], dim=2)
            for i in range(0, 3, 2)
        ],
        dim=2,
    )
    expected = [plain_doubling(finest[3], F.gelu(scaled)), plain_doubling(pyramid.levels['1'], x), x, lowest]
    for ours, plain, channels in zip(pyramid(x), expected, pyramid.channels, strict=True):
        assert ours.shape[1] == channels
        torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-11)
