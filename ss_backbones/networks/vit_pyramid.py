"""ViT as a network of maps: a pyramid on the last tokens, or the tokens after some blocks."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..layers.pyramid import LEVELS, SimpleFeaturePyramid
from .arch import Settings, resolve_arch
from .arguments import check_flag, take_indices
from .vit import ARCHS, ViT


class PyramidViT(ViT):
    """A ViT without a head: an image in, maps out.

    Args:
        arch: See :class:`ViT`.
        settings: See :class:`ViT`.
        pyramid: Make a simple feature pyramid of the last tokens, after the last norm. False gives the tokens after
            some blocks as maps of one size, without a norm, as the necks of mmsegmentation's ViT and BEiT want them.
        out_indices: Rising; negative ones count from the end. With ``pyramid`` they count its four levels, and None is
            all of them. Without it they count blocks, no block after the last of them is built, and None is the last
            block of each quarter.
        in_channels: See :class:`ViT`; so are the arguments that follow.

    Attributes:
        channels: Channels of the returned maps.
        strides: Steps of the returned maps, in pixels of the image.
        fresh: Starts of the state-dict keys that no classifier's checkpoint has.

    Raises:
        ValueError: An argument is out of its range; the text names it and what is possible.
        TypeError: ``arch`` or ``settings`` is of another type.

    Source: see :class:`ViT`; the pyramid is ViTDet's (arXiv 2203.16527).
    """

    fresh = ('pyramid.',)

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'tiny',
        settings: Settings = 'specific',
        *,
        pyramid: bool = True,
        out_indices: int | Sequence[int] | None = None,
        in_channels: int = 3,
        img_size: int | Sequence[int] = 224,
        mlp: str = 'standard',
        class_token: bool = True,
        window_size: int | None = None,
        global_blocks: Sequence[int] | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
    ) -> None:
        check_flag('pyramid', pyramid)
        shape = resolve_arch(arch, ARCHS)
        count, what = (LEVELS, 'levels of the pyramid') if pyramid else (shape.depth, 'blocks')
        if out_indices is None:
            out_indices = range(LEVELS) if pyramid else sorted({max(0, shape.depth * i // 4 - 1) for i in range(1, 5)})
        taken = take_indices(out_indices, count, what)
        if pyramid and shape.patch_size % 4:
            raise ValueError(
                f'arch: patch_size={shape.patch_size} cannot be quartered, as the finest level of the pyramid needs; '
                'take a multiple of 4, or pyramid=False.'
            )
        super().__init__(
            arch,
            settings,
            in_channels=in_channels,
            img_size=img_size,
            mlp=mlp,
            class_token=class_token,
            built_blocks=None if pyramid else taken[-1] + 1,
            final_norm=pyramid,
            window_size=window_size,
            global_blocks=global_blocks,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
        )
        self.out_indices = taken
        dim, patch = self.arch.embed_dim, self.arch.patch_size
        self.pyramid = SimpleFeaturePyramid(dim, taken) if pyramid else None
        self.not_built += tuple(f'pyramid.levels.{i}.' for i in range(LEVELS) if pyramid and i not in taken)
        self.channels = self.pyramid.channels if pyramid else [dim] * len(taken)
        steps = (patch // 4, patch // 2, patch, 2 * patch)
        self.strides = [steps[level] for level in taken] if pyramid else [patch] * len(taken)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) to one (B, C, h, w) map for each of out_indices; h = ceil(H / stride).

        Any H and W from 1 up.

        Raises:
            ValueError: ``x`` is no batch of images with ``in_channels`` channels.
        """
        last, taken = self.forward_tokens(x, self.out_indices if self.pyramid is None else ())
        height, width = x.shape[-2:]
        if self.pyramid is None:
            return tuple(self.as_map(tokens, height, width) for tokens in taken)
        maps = self.pyramid(self.as_map(last, height, width))
        # What lies over the image's border belongs to the padding of the last patches.
        return tuple(
            m[:, :, : -(-height // stride), : -(-width // stride)] for m, stride in zip(maps, self.strides, strict=True)
        )
