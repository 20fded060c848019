"""PVTv2 with a setting for every block: SS-PVTv2, and plain PVTv2 when the settings are uniform."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from timm.layers import trunc_normal_
from torch import Tensor, nn

from ..layers import Block, ConvDfcMlp, ConvMlp, OverlapPatchEmbed, SpatialReductionAttention, drop_path_rates
from .arch import Settings, resolve_arch, resolve_mlp, resolve_settings
from .arguments import check_flag, check_image, check_shared, take_indices
from .recompute import run_block


@dataclass(frozen=True)
class PVTv2Arch:
    """The shape of a PVTv2, one entry a stage.

    Args:
        embed_dims: Channels.
        depths: Blocks.
        num_heads: Attention heads.
        sr_ratios: Spatial reduction of keys and values.
        mlp_ratios: MLP ratios of the plain network (``settings='uniform'``).
        linear: The linear variant: keys and values pooled to 7 x 7.

    Raises:
        ValueError: The lists differ in length, hold no positive numbers, or a width is no multiple of its heads.
    """

    embed_dims: Sequence[int]
    depths: Sequence[int]
    num_heads: Sequence[int] = (1, 2, 5, 8)
    sr_ratios: Sequence[int] = (8, 4, 2, 1)
    mlp_ratios: Sequence[float] = (8, 8, 4, 4)
    linear: bool = False

    def __post_init__(self) -> None:
        check_flag('linear', self.linear)
        for field in fields(self):  # embed_dims comes first, so the others can be held against it
            name, values = field.name, getattr(self, field.name)
            if name == 'linear':
                continue
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise ValueError(f'arch: {name}={values!r} must be a list with one number a stage.')
            if len(values) != len(self.embed_dims) or not values:
                raise ValueError(
                    f'arch: {name}={tuple(values)} needs one entry a stage, as embed_dims={tuple(self.embed_dims)}.'
                )
            whole = name != 'mlp_ratios'
            if any(not isinstance(value, int if whole else int | float) or value <= 0 for value in values):
                raise ValueError(f'arch: {name}={tuple(values)} must hold positive {"whole " * whole}numbers.')
        for dim, heads in zip(self.embed_dims, self.num_heads, strict=True):
            if dim % heads:
                raise ValueError(f'arch: a width of {dim} cannot be shared by {heads} heads; make it a multiple.')


_WIDE = (64, 128, 320, 512)
ARCHS: dict[str, PVTv2Arch] = {
    'b0': PVTv2Arch((32, 64, 160, 256), (2, 2, 2, 2)),
    'b1': PVTv2Arch(_WIDE, (2, 2, 2, 2)),
    'b2': PVTv2Arch(_WIDE, (3, 4, 6, 3)),
    'b2_li': PVTv2Arch(_WIDE, (3, 4, 6, 3), linear=True),
    'b3': PVTv2Arch(_WIDE, (3, 4, 18, 3)),
    'b4': PVTv2Arch(_WIDE, (3, 8, 27, 3)),
    'b5': PVTv2Arch(_WIDE, (3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4)),
}
_MLPS: dict[str, type[nn.Module]] = {'standard': ConvMlp, 'dfc': ConvDfcMlp}


class Stage(nn.Module):
    """Downsampling (but in the first stage), blocks and a norm at one resolution."""

    def __init__(self, downsample: OverlapPatchEmbed | None, blocks: Sequence[Block], dim: int, with_cp: bool) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H', W', C')."""
        if self.downsample is not None:
            x = self.downsample(x.permute(0, 3, 1, 2))
        for block in self.blocks:
            x = run_block(block, self.with_cp, x)
        return self.norm(x)


class PVTv2(nn.Module):
    """The network without a head: an image in, a pyramid of maps out.

    Args:
        arch: 'b0', 'b1', 'b2', 'b2_li', 'b3', 'b4', 'b5', or a dict with the fields of :class:`PVTv2Arch`.
        settings: 'specific' (SS-PVTv2), 'uniform' (plain PVTv2), or a list with one BlockSetting or dict for every
            block of the arch, counted over all stages.
        in_channels: Channels of the image.
        out_indices: Stages whose maps are returned, rising; negative ones count from the end. Later stages than the
            last of them are not built.
        mlp: 'standard', or 'dfc' for :class:`~ss_backbones.layers.ConvDfcMlp` in every block, with settings other than
            'specific'.
        drop_rate: Dropout probability in the MLPs and after the attention's projection.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block; it rises linearly over all blocks from 0.
        with_cp: Recompute the blocks in the backward pass in place of keeping what they made (less memory).

    Attributes:
        channels: Channels of the returned maps.
        strides: Steps of the returned maps, in pixels of the image.
        not_built: Starts of the state-dict keys that belong to the arch and that out_indices leaves out.

    Raises:
        ValueError: An argument is out of its range; the text names it and what is possible.
        TypeError: ``arch`` or ``settings`` is of another type.

    Source: PVTv2 (arXiv 2106.13797); SS ViT (Pattern Recognition 162, 2025, 111422). State-dict keys are those of the
    official SS checkpoints.
    """

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'b0',
        settings: Settings = 'specific',
        *,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        mlp: str = 'standard',
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.arch = resolve_arch(arch, ARCHS)
        ratios = [ratio for n, ratio in zip(self.arch.depths, self.arch.mlp_ratios, strict=True) for _ in range(n)]
        self.settings = resolve_settings(settings, ratios, attn_split=0.0)
        self.out_indices = take_indices(out_indices, len(self.arch.depths), 'stages')
        check_shared(in_channels, drop_rate, attn_drop_rate, drop_path_rate, with_cp)
        mlp_type = resolve_mlp(mlp, settings, _MLPS)
        self.in_channels = in_channels
        self.channels = [self.arch.embed_dims[i] for i in self.out_indices]
        self.strides = [4 * 2**i for i in self.out_indices]

        arch, depth = self.arch, sum(self.arch.depths)
        built = self.out_indices[-1] + 1
        self.not_built = tuple(f'stages.{i}.' for i in range(built, len(arch.depths)))
        drop_paths = drop_path_rates(drop_path_rate, depth)
        self.patch_embed = OverlapPatchEmbed(in_channels, arch.embed_dims[0], kernel_size=7, stride=4)
        stages = []
        for i in range(built):
            dim, first = arch.embed_dims[i], sum(arch.depths[:i])
            downsample = OverlapPatchEmbed(arch.embed_dims[i - 1], dim, kernel_size=3, stride=2) if i else None
            blocks = [
                Block(
                    dim,
                    SpatialReductionAttention(
                        dim,
                        arch.num_heads[i],
                        self.settings[j],
                        sr_ratio=arch.sr_ratios[i],
                        linear=arch.linear,
                        attn_drop=attn_drop_rate,
                        proj_drop=drop_rate,
                    ),
                    mlp_type(dim, self.settings[j], drop_rate, relu_before_conv=arch.linear),
                    drop_paths[j],
                )
                for j in range(first, first + arch.depths[i])
            ]
            stages.append(Stage(downsample, blocks, dim, with_cp))
        self.stages = nn.ModuleList(stages)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) to one (B, C, h, w) map for each of out_indices; h = ceil(H / stride).

        The maps are channels-last in memory. Any H and W from 1 up.

        Raises:
            ValueError: ``x`` is no batch of images with ``in_channels`` channels.
        """
        return tuple(self.forward_stages(x, self.out_indices))

    def forward_stages(self, x: Tensor, after: Collection[int]) -> list[Tensor]:
        """The maps after each stage of ``after``, in rising order; no stage after the last of them is run."""
        check_image(x, self.in_channels)
        x = self.patch_embed(x)
        maps = []
        for i, stage in enumerate(self.stages[: max(after) + 1]):
            x = stage(x)
            if i in after:
                maps.append(x.permute(0, 3, 1, 2))
        return maps

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters beside norms and biases that weight decay should leave alone: none here."""
        return set()

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Where a parameter stands, for layer-wise learning rates.

        Args:
            param_name: Name of the parameter, with ``prefix`` before it.
            prefix: Where this network stands in the model, such as 'backbone.'.

        Returns:
            The layer, and the number of layers: the stem is 0, the blocks are 1 and so on over all stages, and the last
            layer is whatever follows the blocks. A downsampling counts with the block after it, a stage's norm with
            the block before it.
        """
        counts = [len(stage.blocks) for stage in self.stages]
        layers = sum(counts) + 2
        part = param_name.removeprefix(prefix).split('.')
        if part[0] == 'patch_embed':
            return 0, layers
        if part[0] != 'stages':
            return layers - 1, layers
        before, inside = sum(counts[: int(part[1])]), counts[int(part[1])]
        block = {'downsample': 0, 'norm': inside - 1}.get(part[2])
        return before + 1 + (int(part[3]) if block is None else block), layers


def _initialise(module: nn.Module) -> None:
    """The initialisation of PVT: small normal linears, convolutions by their fan-out."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        nn.init.zeros_(module.bias)
