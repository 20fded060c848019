"""SS-ViT and DFC-DeiT as timm models: the same network with a classifier's head."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace

from timm.layers import to_2tuple
from timm.models._features import feature_take_indices  # there is no public name for it
from torch import Tensor, nn

from ..networks.arch import Settings, resolve_arch
from ..networks.arguments import check_flag
from ..networks.vit import ARCHS, ViT
from .api import TimmMixin, check_format, record_input_size
from .registration import register


class SSViTClassifier(TimmMixin, ViT):
    """SS-ViT with a linear head on the class token.

    Args:
        arch: See :class:`~ss_backbones.networks.ViT`.
        settings: See :class:`~ss_backbones.networks.ViT`.
        mlp: See :class:`~ss_backbones.networks.ViT`.
        img_size: Side, or height and width, of the images that the position table is made for, in pixels.
        patch_size: Side of a patch in pixels; None for the arch's own.
        dynamic_img_size: Resize the table for images of other sizes; False refuses them.
        num_classes: Classes of the head; 0 for none.
        global_pool: 'token', or '' for all tokens as they are, without a head.
        in_chans: Channels of the image.
        drop_rate: Dropout probability before the head.
        proj_drop_rate: Dropout probability of the tokens and in the blocks.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block, rising linearly from 0.

    Raises:
        ValueError: An argument is out of its range.
    """

    pooling = 'token'
    feature_indices = 3

    def __init__(
        self,
        arch: str = 'tiny',
        settings: Settings = 'specific',
        mlp: str = 'standard',
        img_size: int | Sequence[int] = 224,
        patch_size: int | None = None,
        dynamic_img_size: bool = True,
        num_classes: int = 1000,
        global_pool: str = 'token',
        in_chans: int = 3,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        shape = resolve_arch(arch, ARCHS)
        super().__init__(
            asdict(shape if patch_size is None else replace(shape, patch_size=patch_size)),
            settings,
            in_channels=in_chans,
            img_size=img_size,
            mlp=mlp,
            drop_rate=proj_drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
        )
        check_flag('dynamic_img_size', dynamic_img_size)
        self.dynamic_img_size = dynamic_img_size
        self.patch_embed.strict_img_size = not dynamic_img_size  # timm's tools read it there; it does nothing else
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = self.arch.embed_dim
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)
        self.feature_info = [
            dict(num_chs=self.arch.embed_dim, reduction=self.arch.patch_size, module=f'blocks.{i}')
            for i in range(self.arch.depth)
        ]

    def set_input_size(
        self, img_size: int | Sequence[int] | None = None, patch_size: int | Sequence[int] | None = None
    ) -> None:
        """Make the position table one for images of another size; an optimiser must be built after this.

        Args:
            img_size: Side, or height and width, in pixels; None for no change.
            patch_size: The model's own, or None.

        Raises:
            ValueError: ``img_size`` is no size, or ``patch_size`` another than the model's.
        """
        own = self.arch.patch_size
        if patch_size is not None and to_2tuple(patch_size) != (own, own):
            raise ValueError(
                f'patch_size={patch_size!r} is not possible: the weights are for patches of {own} x {own} pixels. '
                'Leave it out, or build the model with patch_size=... and train that.'
            )
        if img_size is not None:
            self.resize_positions(img_size)
        record_input_size(self, self.img_size)

    def forward_tokens(
        self, x: Tensor, after: Collection[int] = (), stop: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """See :class:`~ss_backbones.networks.ViT`.

        Raises:
            ValueError: ``x`` is no batch of images, or, without ``dynamic_img_size``, they have another size.
        """
        size = tuple(x.shape[-2:])
        if not self.dynamic_img_size and size != self.img_size:
            raise ValueError(
                f'The images have {" x ".join(map(str, size))} pixels, and the model was built with '
                f'dynamic_img_size=False for {self.img_size[0]} x {self.img_size[1]}. Resize the images, call '
                f'set_input_size({size}), or build the model with dynamic_img_size=True.'
            )
        return super().forward_tokens(x, after, stop)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the tokens after the last norm (B, 1 + N, C), class token first."""
        return self.forward_tokens(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, 1 + N, C) to (B, num_classes), or to (B, C) before the head; (B, 1 + N, C) for ``global_pool=''``."""
        x = self.head_drop(x[:, 0] if self.global_pool else x)
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | list[tuple[Tensor, Tensor]] | tuple[Tensor, list[Tensor]]:
        """The tokens after some blocks, as timm's models give them.

        Args:
            x: Images (B, in_chans, H, W).
            indices: Blocks, in any order; a number is the last so many, and None all.
            return_prefix_tokens: Give the class token (B, 1, C) beside each.
            norm: Put the last norm on each.
            stop_early: Run no block after the last that is wanted.
            output_fmt: 'NCHW' for maps (B, C, h, w), 'NLC' for tokens (B, N, C) without the class token.
            intermediates_only: Leave out the last tokens.

        Raises:
            ValueError: ``output_fmt`` is another.

        Returns:
            The tokens after the last norm and the list, or the list alone.
        """
        check_format(output_fmt, ('NCHW', 'NLC'))
        taken, last = feature_take_indices(len(self.blocks), indices)
        final, tokens = self.forward_tokens(x, taken, stop=last + 1 if stop_early else None)
        tokens = [self.norm(t) if norm else t for t in tokens]
        if output_fmt == 'NCHW':
            out = [self.as_map(t, *x.shape[-2:]).contiguous() for t in tokens]
        else:
            out = [t[:, 1:] for t in tokens]
        if return_prefix_tokens:
            out = [(o, t[:, :1]) for o, t in zip(out, tokens, strict=True)]
        return out if intermediates_only else (final, out)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the blocks that these indices do not need, and the norm and the head if they are not wanted."""
        taken, last = feature_take_indices(len(self.blocks), indices)
        self.not_built += tuple(f'blocks.{i}.' for i in range(last + 1, len(self.blocks)))
        self.blocks = self.blocks[: last + 1]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0)
        return taken

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
for _arch in ARCHS:
    register(
        f'dfc_deit_{_arch}_patch16_224',
        SSViTClassifier,
        _arch,
        __name__,
        dict(crop_pct=0.9, fixed_input_size=True),
        dict(settings='uniform', mlp='dfc'),
    )
