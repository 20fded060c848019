"""The depthwise convolution in the MLPs of PVTv2."""

from torch import Tensor, nn
from torch.nn import functional as F

from ..settings import BlockSetting
from .chunking import in_slabs, slabs_pay


class DepthwiseMixin:
    """Goes before an MLP in the bases: a depthwise 3 x 3 convolution between its first linear and what follows.

    Args:
        dim: Channels C in and out.
        setting: The block's numbers.
        drop: Dropout probability.
        relu_before_conv: Put a ReLU before the convolution (PVTv2's linear variant).

    Source: PVTv2 (arXiv 2106.13797).
    """

    def __init__(self, dim: int, setting: BlockSetting, drop: float = 0.0, *, relu_before_conv: bool = False) -> None:
        super().__init__(dim, setting, drop)
        hidden = self.fc1.out_features
        self.dwconv = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.relu_before_conv = relu_before_conv

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        if slabs_pay(self, x):
            return in_slabs(self._forward, x, halo=1, channels=self.fc1.out_features)
        return self._forward(x)

    def _forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """(B, H, W, C) to (B, H, W, C); ``rows`` keeps those alone in what comes out."""
        hidden = self.fc1(x)
        if self.relu_before_conv:
            hidden = F.relu(hidden)
        # Both permutes are views: channels-last tokens are a channels-last image.
        hidden = self.dwconv(hidden.permute(0, 3, 1, 2))
        if rows is not None:
            hidden = hidden[:, :, rows]
        return self.finish(hidden.permute(0, 2, 3, 1))
