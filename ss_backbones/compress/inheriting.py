"""The weights of a network with other settings out of a trained one's, from unlabelled images and without training.

Block by block, each on the tokens that the blocks before it make, which are made already, so that their errors are
corrected and do not add up:

- What both networks have is copied: embedding, norms, reductions, positions, downsamplings, head.
- A narrower attention gets for every head those queries and keys, and values and projections, of its width that change
  its products and outputs least (:mod:`.low_rank`).
- A narrower attention between channels keeps some of them (:mod:`.channel_heads`).
- A narrower MLP keeps the hidden units that serve it best, with the new activation (:meth:`.Regression.choose`).
- A local patch interaction with another activation gets its second convolution fitted (:mod:`.local`).
- The output projection and the second linear are fitted towards the trained network's tokens, about what was copied
  (:class:`.Regression`). A ramp is taken off the bias.
- What bypasses a layer is fitted before it (:mod:`.heads`, :mod:`.units`).

Where the settings do not differ the block stays as it is, so equal settings give the trained network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..layers import Attention, Block, ConvMixer, CrossCovarianceAttention, LocalBlock, Mlp, Skip, UfoAttention
from ..networks import Network, network_in
from .channel_heads import make_channel_heads, observe_channels
from .heads import make_heads, observe_heads
from .least_squares import Regression
from .local import fit_local
from .streams import Streams, error_after, temporary_streams
from .units import Candidates, fit_bypass, set_outputs

# tokens: the trained network's, the new one's, what the trained block began with, and what is being made
_THEIRS, _OURS, _BEFORE, _NEXT = 'theirs', 'ours', 'before', 'next'
_DRAWN_LIKE = 0  # seed of what is drawn for wider layers


@dataclass(frozen=True)
class BlockError:
    """What a new block leaves over of the trained network's tokens.

    Args:
        block: Its number, from 0.
        error: Mean square of the difference of the tokens after it, relative to what the trained block adds to its own.
    """

    block: int
    error: float


@torch.no_grad()
def inherit_blocks(source: nn.Module, target: nn.Module, images: Iterable[Tensor]) -> Iterator[BlockError]:
    """Give a network the weights that come nearest to a trained one's; a generator, which makes a block at a time.

    Args:
        source: The trained network.
        target: One of the same class and arguments, but for the settings; it is changed.
        images: Batches of normalised images (B, C, H, W).

    Yields:
        The errors, block by block.

    Raises:
        UsageError: The networks differ in more than their settings, or in layers that are not known here, or one is in
            training mode; or the images are too few.
        OutputError: The disk is too small for the tokens.
    """
    if source.training or target.training:
        raise UsageError(
            'Both networks must be in evaluation mode, as dropout would count as what they compute: eval().'
        )
    theirs, ours = network_in(source), network_in(target)
    for network in (theirs, ours):
        _check_mixers(network)
    _copy_outside(source, target)
    with temporary_streams(next(ours.parameters()).device) as streams:
        _embed(ours, images, streams)
        generator = torch.Generator().manual_seed(_DRAWN_LIKE)
        for i, (old, new) in enumerate(zip(theirs.all_blocks(), ours.all_blocks(), strict=True)):
            if i:
                for name in (_THEIRS, _OURS):
                    streams.update(name, lambda _, x, i=i: ours.block_input(i, x), name)
            _make_attention(old, new, streams, generator)
            _make_between(old, new, streams)
            _make_mlp(old, new, streams, generator)
            yield BlockError(i, error_after(streams, _BEFORE, _THEIRS, _OURS))


def _check_mixers(network: Network) -> None:
    """Whether all blocks have attention.

    Raises:
        UsageError: One has something in its place.
    """
    for number, (block, setting) in enumerate(zip(network.all_blocks(), network.settings, strict=False)):
        if isinstance(block.attn, ConvMixer | Skip):
            raise UsageError(
                f'settings[{number}] has mixer={setting.mixer!r}. Weights are made for attention and MLPs, and not for '
                'what stands in the place of attention. Give a network with attention in all blocks.'
            )


def _copy_outside(source: nn.Module, target: nn.Module) -> None:
    """Copy whatever stands in no attention and no MLP.

    Raises:
        UsageError: It is not the same in both.
    """
    blocks = [name for name, module in target.named_modules() if isinstance(module, Block)]
    inside = tuple(f'{name}.{part}.' for name in blocks for part in ('attn', 'mlp'))
    theirs, ours = (
        {key: value for key, value in network.state_dict().items() if not key.startswith(inside)}
        for network in (source, target)
    )
    shapes = ({key: tuple(value.shape) for key, value in state.items()} for state in (theirs, ours))
    if different := dict(next(shapes).items() ^ next(shapes).items()):
        raise UsageError(
            f'The networks differ in more than their settings: {", ".join(list(different)[:3])}. Give two of the same '
            'class, arch, size and classes.'
        )
    target.load_state_dict(theirs, strict=False)


def _embed(network: Network, images: Iterable[Tensor], streams: Streams) -> None:
    """Turn the images into the first block's tokens.

    Raises:
        UsageError: In some block all of them have fewer tokens than these have channels.
    """
    device, count, needed = next(network.parameters()).device, 0, 0
    for batch in images:
        batch = batch.to(device)
        needed = needed or _least_images(network, batch[:1])
        count += len(batch)
        tokens = network.block_input(0, batch)
        streams.append(network.layout(*batch.shape[-2:]), **{_THEIRS: tokens, _OURS: tokens})
    if count < max(1, needed):
        raise UsageError(
            f'{count} images are too few: in every block their tokens must be as many as the channels of these. Give '
            f'{needed or 1} images of this size or more, or larger ones.'
        )


def _least_images(network: Network, image: Tensor) -> int:
    """How many images make as many tokens as these have channels in every block."""
    shapes: list[torch.Size] = []
    hooks = [
        block.norm1.register_forward_hook(lambda _, inputs, output: shapes.append(output.shape))
        for block in network.all_blocks()
    ]
    network(image)
    for hook in hooks:
        hook.remove()
    return max(-(-shape[-1] // shape[:-1].numel()) for shape in shapes)


def _make_attention(old: Block, new: Block, streams: Streams, generator: torch.Generator) -> None:
    """The attention of a block; the tokens of both networks are those after it then; see _BEFORE."""
    streams.update(_NEXT, lambda layout, x: old.add_attention(x, *layout), _THEIRS)
    scale = new.scales()[0]
    _check_linear_attention(old.attn, new.attn)
    known = isinstance(new.attn, Attention) and type(new.attn).mix is not Attention.mix
    _copy_equal(old.attn, new.attn, partly=known)
    if known:
        if (old.attn.head_dim, old.attn.token_bypass) != (new.attn.head_dim, new.attn.token_bypass):
            batches = (
                (layout, new.norm1(ours), _wanted(after, ours, scale).flatten(1, -2))
                for layout, ours, after in streams.read(_OURS, _NEXT)
            )
            if isinstance(new.attn, CrossCovarianceAttention):
                make_channel_heads(old.attn, new.attn, observe_channels(old.attn, new.attn, batches))
            else:
                make_heads(old.attn, new.attn, observe_heads(old.attn, new.attn, batches), generator)
        regression = Regression(new.attn.proj.weight, new.attn.proj.bias)
        for layout, ours, after in streams.read(_OURS, _NEXT):
            mixed = new.attn.mix(new.norm1(ours), *layout)
            wanted = _wanted(after, ours, scale).flatten(1, -2)
            regression.add(*(new.attn.split(x, ours)[0] for x in (mixed, wanted)))
        _set_linear(new.attn.proj, *regression.solve())
    streams.update(_OURS, lambda layout, x: new.add_attention(x, *layout), _OURS)
    streams.rename(_THEIRS, _BEFORE)
    streams.rename(_NEXT, _THEIRS)


def _make_between(old: Block, new: Block, streams: Streams) -> None:
    """What a block does between attention and MLP; the tokens of both networks are those after it then."""
    if type(old).between is Block.between:
        return
    streams.update(_THEIRS, lambda layout, x: old.between(x, *layout), _THEIRS)
    if isinstance(new, LocalBlock) and type(new.local_mp.act) is not type(old.local_mp.act):
        fit_local(
            new.local_mp,
            lambda: (
                (layout[0], new.norm3(ours), _wanted(after, ours, new.gamma3))
                for layout, ours, after in streams.read(_OURS, _THEIRS)
            ),
        )
    streams.update(_OURS, lambda layout, x: new.between(x, *layout), _OURS)


def _wanted(after: Tensor, before: Tensor, scale: Tensor | None) -> Tensor:
    """What a branch should give, so that tokens become others; nothing of channels that are scaled by 0."""
    change = after - before
    return change if scale is None else torch.where(scale == 0, 0.0, change / scale)


def _check_linear_attention(old: nn.Module, new: nn.Module) -> None:
    """Whether none of two attentions is linear, or both are and of the same sizes.

    Raises:
        UsageError: It is otherwise. What makes heads narrower keeps products of queries and keys, which linear
            attention does not have.
    """
    kinds = [isinstance(attn, UfoAttention) for attn in (old, new)]
    if not any(kinds):
        return
    if not all(kinds):
        raise UsageError(
            "Linear attention (mixer='ufo') cannot be made out of softmax attention, nor this out of that: neither "
            'computes anything near the other with the same weights. Give both networks the same linear_stages, '
            'linear_blocks or mixers.'
        )
    if (old.head_dim, old.token_bypass) != (new.head_dim, new.token_bypass):
        raise UsageError(
            f"Linear attention (mixer='ufo') is inherited as it is: its heads cannot go from {old.head_dim} to "
            f'{new.head_dim} channels, nor its token bypass from {old.token_bypass:g} to {new.token_bypass:g}. Take '
            'settings with the same attn_ratio and attn_split in these blocks.'
        )


def _make_mlp(old: Block, new: Block, streams: Streams, generator: torch.Generator) -> None:
    """The MLP of a block; the tokens of both networks are those after it then."""
    streams.update(_NEXT, lambda _, x: old.add_mlp(x), _THEIRS)
    scale = new.scales()[1]
    if isinstance(new.mlp, Mlp):
        candidates = Candidates(old.mlp, new.mlp, generator)
        same_bypass = old.mlp.bypass == new.mlp.bypass
        outputs, inner = new.mlp.fc2.out_features, new.mlp.fc2.in_features
        free = candidates.units.hidden - (new.mlp.bypass if same_bypass else 0)  # the last ones keep their channels
        regression = Regression(candidates.weight[:outputs, :free], candidates.bias[:outputs])
        for _, ours, after in streams.read(_OURS, _NEXT):
            features = candidates.units.features(new.norm2(ours))
            regression.add(features[..., :free], _wanted(after, ours, scale)[..., :outputs])
        chosen = regression.choose(inner)
        candidates.take(new.mlp, torch.cat((chosen, torch.arange(free, candidates.units.hidden))))
        if same_bypass or not new.mlp.bypass:
            shift = candidates.bias[outputs:]
        else:
            shift = fit_bypass(
                new.mlp,
                lambda: ((new.norm2(x), _wanted(after, x, scale)) for _, x, after in streams.read(_OURS, _NEXT)),
            )
        set_outputs(new.mlp, *regression.solve(chosen), shift)
    else:
        _copy_equal(old.mlp, new.mlp, partly=False)
    streams.update(_OURS, lambda _, x: new.add_mlp(x), _OURS)
    streams.rename(_NEXT, _THEIRS)


def _copy_equal(old: nn.Module, new: nn.Module, *, partly: bool) -> None:
    """Copy the tensors of one shape; unless ``partly``, they must be all.

    Raises:
        UsageError: They are not.
    """
    own = new.state_dict()
    same = {key: value for key, value in old.state_dict().items() if key in own and own[key].shape == value.shape}
    if len(same) < len(own) and not partly:
        raise UsageError(
            f'A {type(new).__name__} cannot be made out of a {type(old).__name__} with other tensors, such as '
            f'{next(key for key in own if key not in same)}. Take settings that leave it as it is.'
        )
    new.load_state_dict(same, strict=False)


def _set_linear(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
