"""A dense network as one that a search prunes: gates in its blocks, what it costs, and what was found.

Source: He et al., "Pruning Self-attentions into Convolutional Layers in Single Path" (SPViT), TPAMI 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import Block
from ..layers.conv_mixer import SIDES, norm_name
from ..layers.gates import BARELY_ON, make_draws
from ..layers.search_mixer import SearchMixer, searched_mixer
from ..layers.search_mlp import SearchMlp
from ..settings import BlockSetting
from . import spvit
from .base import Network, StateDict
from .catalog import families

_OF_SEARCH = ('kernel_thresholds', 'head_probs', 'bn_1x1.', 'bn_3x3.')  # what an attention gets for a search
_SEED = 0  # of the values that no output depends on, where heads are widened


def check_searchable(network: Network) -> None:
    """Whether a network can be searched.

    Raises:
        ValueError: Its family has no convolutions in the place of attention, or a block has no attention, an MLP of
            another kind or a fixed ramp.
    """
    name, supported = type(network).__name__, [cls.__name__ for cls in families().values() if _has_choices(cls)]
    if not _has_choices(type(network)):
        raise ValueError(
            f'{name} cannot be searched: in its blocks attention cannot give way to a convolution or to nothing. A '
            f'search is for {" and ".join(supported)}.'
        )
    for number, setting in enumerate(network.settings[: len(network.all_blocks())]):
        if setting.mixer != 'attention':
            raise ValueError(
                f'settings[{number}] has mixer={setting.mixer!r}: a search starts from a dense network, with attention '
                'in all blocks.'
            )
    if network.mlp != 'standard':
        raise ValueError(f"mlp={network.mlp!r} cannot be searched; take mlp='standard'.")


def _has_choices(network: type[Network]) -> bool:
    return network.head_mixing is not None and set(spvit.MIXERS) <= set(network.mixers)


def search_form(network: Network) -> None:
    """Give all built blocks of a network gates; its weights and their keys stay, and gates are added.

    Raises:
        ValueError: See :func:`check_searchable`, :func:`~ss_backbones.layers.search_mixer.searched_mixer` and
            :class:`~ss_backbones.layers.search_mlp.SearchMlp`; the network may have gates in some blocks then.
    """
    check_searchable(network)
    for number, block in enumerate(network.all_blocks()):
        try:
            block.attn = searched_mixer(block.attn, network.head_mixing)
            block.mlp = SearchMlp(block.mlp)
        except ValueError as error:
            raise ValueError(f'settings[{number}]: {error}') from error


def is_searched(network: nn.Module) -> bool:
    """Whether it has gates."""
    return any(isinstance(module, SearchMixer) for module in network.modules())


def gates(network: nn.Module) -> dict[str, nn.Parameter]:
    """The thresholds of all gates, by their names."""
    ends = ('kernel_thresholds', 'ffn_thresholds')
    return {name: value for name, value in network.named_parameters() if name.endswith(ends)}


def draw_gates(network: nn.Module, seed: int) -> None:
    """Draw what the gates of the next training step are made from; one seed gives the same in every process."""
    searched = [module for module in network.modules() if isinstance(module, SearchMixer | SearchMlp)]
    drawn = make_draws(sum(module.draws.numel() for module in searched), seed)
    for module, own in zip(searched, drawn.split([module.draws.numel() for module in searched]), strict=True):
        module.draws.copy_(own)


@torch.no_grad()
def keep_needed_attention(network: Network) -> int | None:
    """Put the gates of one attention back on where a network that needs one has lost the last.

    It is that of the block whose gates are the least off. A search would end in a network that tells no images apart
    otherwise, as its cost is the lowest.

    Returns:
        The block's number, where there was one to put back on.
    """
    mixers = [block.attn for block in network.all_blocks()]
    if not network.needs_attention or any(mixer.choice == 'attention' for mixer in mixers):
        return None
    moving = [i for i, mixer in enumerate(mixers) if mixer.kernel_thresholds.requires_grad]
    nearest = max(moving, key=lambda i: float(mixers[i].kernel_thresholds.min()))
    mixers[nearest].kernel_thresholds.clamp_(min=BARELY_ON)
    return nearest


@dataclass(frozen=True)
class SearchCost:
    """The multiply-adds of a searched network for one image, by the official code's formula.

    It counts norms, and leaves the class token out of the MLPs. Of a backbone it has the stem, the blocks and what lies
    between them; of a classifier the head too.

    Args:
        network: The network, with gates.
        grids: Height and width in tokens of every built block.
        outside: What does not go with the gates.
    """

    network: Network
    grids: Sequence[tuple[int, int]]
    outside: int

    @classmethod
    def of(cls, network: Network, height: int, width: int) -> SearchCost:
        """For images of so many pixels."""
        grids, outside = network.count_for_search(height, width)
        head = getattr(network, 'head', None)
        return cls(network, grids, outside + (head.weight.numel() if isinstance(head, nn.Linear) else 0))

    def _blocks(self) -> Iterator[tuple[Block, tuple[int, int]]]:
        return zip(self.network.all_blocks(), self.grids, strict=True)

    @property
    def _prefix(self) -> int:
        return getattr(self.network, 'prefix_tokens', 0)

    def parts(self) -> tuple[Tensor, Tensor]:
        """Of the mixers and of the MLPs, with the gates as they are; with gradients, in float64."""
        mixers = [block.attn.macs(grid, self._prefix) for block, grid in self._blocks()]
        return torch.stack(mixers).sum(), torch.stack([block.mlp.macs(grid) for block, grid in self._blocks()]).sum()

    def total(self) -> Tensor:
        """Of the network, with the gates as they are; with gradients, in float64."""
        return sum(self.parts()) + self.outside

    @property
    def dense(self) -> int:
        """With all gates on."""
        return self.outside + sum(self._attentions()) + self._mlps(whole=True)

    @property
    def least(self) -> int:
        """With all mixers skipped but the cheapest attention that the network needs, if any, and one unit in each MLP
        beside those that have no gate."""
        attention = min(self._attentions()) if self.network.needs_attention else 0
        return self.outside + attention + self._mlps(whole=False)

    def _attentions(self) -> list[int]:
        return [block.attn.branch_macs(grid, self._prefix)[2] for block, grid in self._blocks()]

    def _mlps(self, *, whole: bool) -> int:
        count = 0
        for block, grid in self._blocks():
            units = block.mlp.hidden - block.mlp.bypass if whole else 1
            count += block.mlp.fixed_macs(grid) + units * block.mlp.unit_macs(grid)
        return count


def found_settings(network: Network) -> list[BlockSetting]:
    """What the gates of a searched network mean, one setting for each block of the arch."""
    blocks = network.all_blocks()
    found = []
    for setting, block in zip(network.settings, blocks, strict=False):
        choice = block.attn.choice
        changes: dict[str, object] = {'mixer': choice, 'hidden': len(block.mlp.kept())}
        if choice != 'attention':
            changes |= {'attn_ratio': 1.0, 'attn_split': 0.0}
        if choice == 'skip':
            changes |= {'pos_scale': 0.0}
        found.append(replace(setting, **changes))
    return [*found, *network.settings[len(blocks) :]]


def found_weights(network: Network) -> StateDict:
    """The weights of a searched network for the network that has :func:`found_settings`.

    That network computes what the searched one does in evaluation, but for skipped blocks, to which it adds their first
    norm's output; for 3 x 3 convolutions in Swin, which leave their windows; and for the learned bias of what bypasses
    the MLP of a skipped block, which has none.
    """
    weights = dict(network.state_dict())
    names = [name for name, part in network.named_modules() if isinstance(part, Block)]
    for name, block in zip(names, network.all_blocks(), strict=True):
        _mixer_weights(weights, f'{name}.attn.', block.attn)
        _mlp_weights(weights, f'{name}.mlp.', block.mlp, skipped=block.attn.choice == 'skip')
    return weights


def _mixer_weights(weights: StateDict, start: str, attn: SearchMixer) -> None:
    """Leave those of the chosen mixer."""
    choice = attn.choice
    own = {key.removeprefix(start): weights.pop(key) for key in list(weights) if key.startswith(start)}
    if choice == 'skip':
        return
    if choice == 'attention':
        kept = {key: value for key, value in own.items() if not key.startswith(_OF_SEARCH)}
    else:
        norm = f'{norm_name(SIDES[choice])}.'
        kept = {key: value for key, value in own.items() if key.startswith((norm, 'head_probs'))}
        kept |= _widened(own, attn, norm)
    weights.update({start + key: value for key, value in kept.items()})


def _widened(own: StateDict, attn: SearchMixer, norm: str) -> StateDict:
    """Values, projection and norm of a convolution, with the channels that narrow heads (attn_ratio below 1) lack.

    These channels are as large as the others before the projection, and nothing after it.
    """
    heads, width = attn.num_heads, attn.head_dim
    more = attn.proj.out_features // heads - width
    rows, bias = (own[f'qkv.{name}'][2 * heads * width :].unflatten(0, (heads, width)) for name in ('weight', 'bias'))
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.randn(heads, more, rows.shape[-1], generator=generator, dtype=torch.float64, device='cpu')
    rows = torch.cat((rows, drawn.to(rows) * rows.square().mean().sqrt()), dim=1)
    proj = F.pad(own['proj.weight'].unflatten(1, (heads, width)), (0, more))
    fill = {'weight': 1.0, 'running_var': 1.0}
    norms = {
        key: F.pad(value, (0, more), value=fill.get(key.removeprefix(norm), 0.0))
        for key, value in own.items()
        if key.startswith(norm) and value.ndim
    }
    return norms | {
        'v.weight': rows.flatten(0, 1),
        'v.bias': F.pad(bias, (0, more)).flatten(),
        'proj.weight': proj.flatten(1),
        'proj.bias': own['proj.bias'],
    }


def _mlp_weights(weights: StateDict, start: str, mlp: SearchMlp, *, skipped: bool) -> None:
    """Leave those of the kept units."""
    kept = mlp.kept()
    inner = kept[: len(kept) - mlp.bypass]
    for key, where in (('fc1.weight', kept), ('fc1.bias', kept)):
        weights[start + key] = weights[start + key][where]
    weights[f'{start}fc2.weight'] = weights[f'{start}fc2.weight'][:, inner]
    for key in ('ffn_thresholds', *(('pos_bias', 'bypass_bias') if skipped else ())):
        weights.pop(start + key, None)
