"""SS-PVTv2 as timm models: the same network with a classifier's head."""

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from .networks.pvt_v2 import ARCHS, PVTv2, Settings


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
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
            raise ValueError(f'num_classes={num_classes!r} must be a whole number, 0 for no head.')
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = self.channels[-1]
        self.head_drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if num_classes:
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

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


def _register(arch: str) -> None:
    def build(pretrained: bool = False, **kwargs: object) -> nn.Module:
        return build_model_with_cfg(SSPVTv2Classifier, name, pretrained, arch=arch, **kwargs)

    # timm calls an entry point by its function's name and looks for its default configuration in the function's module.
    name = build.__name__ = build.__qualname__ = f'ss_pvt_v2_{arch}'
    build.__doc__ = f"""SS-PVTv2-{arch.upper()}; takes the arguments of SSPVTv2Classifier but ``arch``."""
    register_model(build)
    MODEL_NAMES.append(name)


MODEL_NAMES: list[str] = []
# No address of weights: there are none to download yet.
default_cfgs = generate_default_cfgs(
    {
        f'ss_pvt_v2_{arch}': dict(
            num_classes=1000,
            input_size=(3, 224, 224),
            pool_size=(7, 7),
            crop_pct=0.9,
            interpolation='bicubic',
            fixed_input_size=False,
            mean=IMAGENET_DEFAULT_MEAN,
            std=IMAGENET_DEFAULT_STD,
            first_conv='patch_embed.proj',
            classifier='head',
        )
        for arch in ARCHS
    }
)
for _arch in ARCHS:
    _register(_arch)
