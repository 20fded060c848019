"""UFO-ViT, with a setting for every block as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from timm.models.xcit import LPI, ClassAttentionBlock

from ..layers import ACTIVATIONS, NormedLPI, UfoAttention, UfoClassAttention
from ..settings import BlockSetting
from .arguments import Settings, check_flag
from .xcit import XCiT, XCiTArch

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .arguments import ColumnarArguments


ARCHS: dict[str, XCiTArch] = {
    'tiny': XCiTArch(192, 24, 4, layer_scale=1e-5),
    'small': XCiTArch(384, 12, 8),
    'medium': XCiTArch(384, 24, 8, layer_scale=1e-5),
    'base': XCiTArch(512, 24, 8, layer_scale=1e-5),
}


class UFOViT(XCiT):
    """XCiT's stem, positions, blocks and class attention, with linear attention without softmax in both.

    No official code is public. What the paper leaves open to its readers is read as follows; four of the readings are
    arguments. The order attention, local convolutions, MLP, the scales of the branches and where they start, LayerNorm
    before each branch, and positions as sines and cosines with a learned projection are XCiT's: the paper builds on it
    and says nothing else.

    Args:
        arch: 'tiny', 'small', 'medium', 'base', or a dict with the fields of :class:`XCiTArch`.
        settings: See :class:`~ss_backbones.networks.Network`; 'uniform', the default, is the paper's network. So are
            the arguments that are not named here.
        full_projections: Queries, keys and values of a head are made of all channels. False, the default: of the head's
            own alone, which is the reading that the published numbers of parameters fit.
        kv_axis: See :class:`~ss_backbones.layers.UfoAttention`.
        share_gamma: See :class:`~ss_backbones.layers.UfoAttention`.
        local_end: Put BatchNorm and activation after the second local convolution too, as "two stacked conv-BN-GELU"
            can be read. False, the default, is XCiT's module, which the paper takes.

    Source: Song, UFO-ViT (arXiv 2109.14382); XCiT (arXiv 2106.09681).
    """

    archs = ARCHS
    short_name = 'ufo-vit-'
    key_maps = ()
    mixers = ('attention',)

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'tiny',
        settings: Settings = 'uniform',
        *,
        full_projections: bool = False,
        kv_axis: str = 'key',
        share_gamma: bool = False,
        local_end: bool = False,
        **shared: Unpack[ColumnarArguments],
    ) -> None:
        for name, value in (
            ('full_projections', full_projections),
            ('share_gamma', share_gamma),
            ('local_end', local_end),
        ):
            check_flag(name, value)
        projections = {'projections': 'q+kv' if full_projections else 'heads'}
        self._reading = {**projections, 'kv_axis': kv_axis, 'share_gamma': share_gamma}
        self._local_end = local_end
        super().__init__(arch, settings, **shared)

    def _make_attention(self, setting: BlockSetting) -> UfoAttention:
        return UfoAttention(
            **self._reading, **self.attention_arguments(self.arch.embed_dim, self.arch.num_heads, setting)
        )

    def _make_local(self, setting: BlockSetting) -> LPI:
        if not self._local_end:
            return super()._make_local(setting)
        return NormedLPI(self.arch.embed_dim, ACTIVATIONS[setting.act])

    def _make_class_block(self) -> ClassAttentionBlock:
        block = super()._make_class_block()
        dim, heads = self.arch.embed_dim, self.arch.num_heads
        block.attn = UfoClassAttention(dim, heads, dim // heads, **self._reading, proj_drop=self.proj_drop)
        return block
