"""What each block of a network looks like, and the specific setting (SS), a rule that fills the table by depth."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch

ACTIVATIONS = ('GELU', 'ReLU')
RAMPS = ('paper', 'bias', 'none')
MIXERS = ('attention', 'ufo', 'conv3x3', 'conv1x1', 'skip')
_WORDS = {'act': ACTIVATIONS, 'ramp': RAMPS, 'mixer': MIXERS}
# What the SS paper sets by depth; the other fields say how a ramp is trained, and what other methods change.
SPECIFIC = ('mlp_ratio', 'mlp_split', 'act', 'pos_scale', 'attn_ratio', 'attn_split')
_OF_ATTENTION = ('attn_ratio', 'attn_split')


@dataclass(frozen=True)
class BlockSetting:
    """What one transformer block looks like. The defaults are a vanilla block.

    Args:
        mlp_ratio: Hidden width of the MLP as a multiple of the block's width.
        mlp_split: Share of the block's width that skips the MLP's second linear, in [0, 1).
        act: Activation of the MLP, 'GELU' or 'ReLU'.
        pos_scale: End of the fixed ramp ``linspace(0, pos_scale, hidden)`` that is added to the hidden features.
        attn_ratio: Width of query, key and value as a multiple of the block's width.
        attn_split: Share of the tokens that skip the attention's output projection, in [0, 1); needs attn_ratio 1.
        ramp: How a network is trained that has a ramp: 'paper' adds it to the hidden features, fixed; 'bias' starts
            with what it adds to the MLP's output in the biases there, and leaves the rest to the training; 'none'
            starts with these biases at 0. See :class:`~ss_backbones.layers.Mlp`.
        mixer: What mixes the tokens: 'attention', the network's own; 'ufo', linear attention without softmax;
            'conv3x3' or 'conv1x1', a bottleneck convolution; 'skip', nothing. A network says which ones it can have.
        hidden: Hidden width of the MLP in channels, in place of what mlp_ratio makes; None for that.

    Raises:
        ValueError: A number is out of its range, a word is unknown, attn_split meets attn_ratio != 1, or a mixer that
            is no attention has numbers of attention or, without a mixer, a ramp.

    Source: Ning & Gan, "SS ViT", Pattern Recognition 162 (2025) 111422; 'ufo' arXiv 2109.14382; the other mixers and
    hidden widths He et al., "Pruning Self-attentions into Convolutional Layers in Single Path", TPAMI 2024.
    """

    mlp_ratio: float = 4.0
    mlp_split: float = 0.0
    act: str = 'GELU'
    pos_scale: float = 0.0
    attn_ratio: float = 1.0
    attn_split: float = 0.0
    ramp: str = 'paper'
    mixer: str = 'attention'
    hidden: int | None = None

    def __str__(self) -> str:
        """As a config would say it: mmengine writes the config in a work dir so, which can be read again."""
        return f'dict({", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))})'

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _WORDS:
                if value not in _WORDS[field.name]:
                    known = ', '.join(_WORDS[field.name])
                    raise ValueError(f'{field.name}={value!r} is not known; take one of {known}.')
            elif field.name == 'hidden':
                if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                    raise ValueError(f'hidden={value!r} must be a whole number of channels, 1 or more, or None.')
            elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f'{field.name}={value!r} must be a finite number.')
        for name in ('mlp_ratio', 'attn_ratio'):
            if getattr(self, name) <= 0:
                raise ValueError(f'{name}={getattr(self, name)} must be above 0.')
        for name in ('mlp_split', 'attn_split'):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f'{name}={getattr(self, name)} is a share and must lie in [0, 1).')
        if self.pos_scale < 0:
            raise ValueError(f'pos_scale={self.pos_scale} must be 0 (no ramp) or above.')
        if self.hidden is None and self.mlp_split >= self.mlp_ratio:
            raise ValueError(f'mlp_split={self.mlp_split} takes more channels than mlp_ratio={self.mlp_ratio} makes.')
        if self.attn_split > 0 and self.attn_ratio != 1:
            raise ValueError(
                f'attn_split={self.attn_split} lets tokens past the output projection, so their width must be the '
                f"block's: it needs attn_ratio=1, but attn_ratio={self.attn_ratio}. Set attn_split=0 or attn_ratio=1."
            )
        if self.mixer not in ('attention', 'ufo'):
            self._check_without_attention()

    def _check_without_attention(self) -> None:
        plain = {field.name: field.default for field in fields(self)}
        names = (*_OF_ATTENTION, 'pos_scale') if self.mixer == 'skip' else _OF_ATTENTION
        given = ', '.join(f'{name}={getattr(self, name)}' for name in names if getattr(self, name) != plain[name])
        if given:
            raise ValueError(
                f"{given} does not go with mixer='{self.mixer}', which has no attention"
                f'{" and whose block has no ramp" * (self.mixer == "skip")}. Leave it out, or take another mixer.'
            )

    def hidden_width(self, dim: int) -> int:
        """Hidden channels of the MLP in a block of ``dim`` channels."""
        return int(dim * self.mlp_ratio) if self.hidden is None else self.hidden


def specific_setting(depth: int, attn_split: float = 0.25) -> list[BlockSetting]:
    """The SS rule for a network of ``depth`` blocks, counted over all stages.

    Args:
        depth: Number of blocks, at least 1.
        attn_split: Share of tokens that skip the projection in the last blocks (SS-PVTv2 takes 0).

    Raises:
        ValueError: ``depth`` is no positive whole number.

    Source: the SS paper's settings for depths 8, 12 and 24; for other depths they are this package's reading of it.
    """
    _check_depth(depth)
    narrow = round(depth / 12)
    split = round(depth / 6)
    flat = math.ceil(depth / 3)
    rising = min(flat, depth - flat)
    # float32 on purpose: the official scales are made there, and float64 ones differ from them by 2e-8.
    scales = [0.0] * flat + torch.linspace(0, 2, rising, dtype=torch.float32, device='cpu').tolist()
    scales += [2.0] * (depth - len(scales))
    settings = []
    for block in range(depth):
        first, second, last = block < narrow, block < 2 * narrow, block >= depth - split
        settings.append(
            BlockSetting(
                mlp_ratio=3.0 if first else 3.5 if second else 4.0,
                mlp_split=0.5 if last else 0.0,
                act='ReLU' if second else 'GELU',
                pos_scale=scales[block],
                attn_ratio=0.5 if first else 0.75 if second else 1.0,
                attn_split=attn_split if last else 0.0,
            )
        )
    return settings


def uniform_setting(depth: int, setting: BlockSetting | None = None) -> list[BlockSetting]:
    """The same setting for every block; without ``setting`` a vanilla transformer's.

    Raises:
        ValueError: ``depth`` is no positive whole number.
        TypeError: ``setting`` is no BlockSetting.
    """
    _check_depth(depth)
    if not isinstance(setting, BlockSetting | None):
        raise TypeError(f'setting must be a BlockSetting, not {setting!r}.')
    return [setting or BlockSetting()] * depth


def with_linear_attention(settings: Sequence[BlockSetting], blocks: Collection[int]) -> list[BlockSetting]:
    """The settings, with linear attention (mixer='ufo') in some blocks and nothing else changed."""
    return [replace(setting, mixer='ufo') if i in blocks else setting for i, setting in enumerate(settings)]


def as_settings(items: Sequence[BlockSetting | Mapping[str, float | str]], depth: int) -> list[BlockSetting]:
    """Check a list of settings given as objects or dicts, one for each of ``depth`` blocks.

    Raises:
        TypeError: ``items`` is no list, or an item is neither a BlockSetting nor a dict.
        ValueError: The length is wrong, or a dict has a key that no BlockSetting has.
    """
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise TypeError(
            f"settings must be 'specific', 'uniform' or a list of {depth} BlockSetting or dicts, not {items!r}."
        )
    if len(items) != depth:
        raise ValueError(f'settings has {len(items)} entries, but this architecture has {depth} blocks: give one each.')
    names = [field.name for field in fields(BlockSetting)]
    settings = []
    for number, item in enumerate(items):
        if isinstance(item, BlockSetting):
            settings.append(item)
            continue
        if not isinstance(item, Mapping):
            raise TypeError(f'settings[{number}] must be a BlockSetting or a dict, not {type(item).__name__}.')
        unknown = sorted(set(item) - set(names))
        if unknown:
            raise ValueError(f'settings[{number}] has unknown keys {unknown}; known are {names}.')
        try:
            settings.append(BlockSetting(**item))
        except ValueError as error:
            raise ValueError(f'settings[{number}]: {error}') from error
    return settings


def _check_depth(depth: int) -> None:
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ValueError(f'depth={depth!r} must be a whole number of blocks, 1 or more.')
