"""SS-ViT as timm models: the same network with a classifier's head."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..networks.arch import Settings
from ..networks.vit import ARCHS, ViT
from .head import make_head
from .registration import register


class SSViTClassifier(ViT):
    """SS-ViT with a linear head on the class token.

    Args:
        arch: See :class:`~ss_backbones.networks.ViT`.
        settings: See :class:`~ss_backbones.networks.ViT`.
        img_size: Side, or height and width, of the images that the position table is made for, in pixels. Images of
            other sizes get the table resized.
        num_classes: Classes of the head; 0 for none.
        in_chans: Channels of the image.
        drop_rate: Dropout probability before the head.
        proj_drop_rate: Dropout probability of the tokens and in the blocks.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block, rising linearly from 0.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        arch: str = 'tiny',
        settings: Settings = 'specific',
        img_size: int | Sequence[int] = 224,
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
            img_size=img_size,
            drop_rate=proj_drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
        )
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = self.arch.embed_dim
        self.head_drop = nn.Dropout(drop_rate)
        self.head = make_head(self.num_features, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the tokens after the last norm (B, 1 + N, C), class token first."""
        return self.forward_tokens(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, 1 + N, C) to (B, num_classes), or to (B, C) before the head."""
        x = self.head_drop(x[:, 0])
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


for _name, _arch, _size in (
    *((f'ss_vit_{arch}_patch16_224', arch, 224) for arch in ARCHS),
    ('ss_vit_base_patch16_384', 'base', 384),
):
    # As DeiT is evaluated: the whole image at 384, its middle at 224.
    _crop = 1.0 if _size == 384 else 0.9
    # timm passes input_size as img_size where fixed_input_size says so
    _cfg = dict(input_size=(3, _size, _size), crop_pct=_crop, fixed_input_size=True)
    register(_name, SSViTClassifier, _arch, __name__, _cfg)
