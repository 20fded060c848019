"""SS-PVTv2 as timm models: the same network with a classifier's head."""

from torch import Tensor, nn

from ..networks.arch import Settings
from ..networks.pvt_v2 import ARCHS, PVTv2
from .head import make_head
from .registration import register


class SSPVTv2Classifier(PVTv2):
    """SS-PVTv2 with a linear head on the mean of the last map.

    Args:
        arch: See :class:`~ss_backbones.networks.PVTv2`.
        settings: See :class:`~ss_backbones.networks.PVTv2`.
        num_classes: Classes of the head; 0 for none.
        in_chans: Channels of the image.
        drop_rate: Dropout probability before the head.
        proj_drop_rate: Dropout probability in the blocks.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block, rising linearly from 0.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        arch: str = 'b0',
        settings: Settings = 'specific',
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(
            arch,
            settings,
            in_channels=in_chans,
            out_indices=-1,
            drop_rate=proj_drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
        )
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = self.channels[-1]
        self.head_drop = nn.Dropout(drop_rate)
        self.head = make_head(self.num_features, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the last map (B, C, h, w)."""
        return super().forward(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, h, w) to (B, num_classes), or to (B, C) before the head."""
        x = self.head_drop(x.mean(dim=(2, 3)))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


for _arch in ARCHS:
    register(f'ss_pvt_v2_{_arch}', SSPVTv2Classifier, _arch, __name__, dict(pool_size=(7, 7), fixed_input_size=False))
