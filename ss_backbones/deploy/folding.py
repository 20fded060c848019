"""Networks for inference: what is constant after training is worked into the weights."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers import Attention, Block, ConvMixer, HiddenMlp, Mlp, SharedConvMixer, Skip
from ..layers.conv_mixer import HeadProjection, HeadValues
from ..layers.folded_weights import MARK
from ..layers.search_mixer import SearchMixer

_PLAIN = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d, HeadValues, HeadProjection)


def fold(model: nn.Module) -> nn.Module:
    """A copy for inference of whatever holds blocks of this package, with their constants worked into their weights.

    In every block the ramp goes into the bias of the MLP's second linear (what it adds to the channels that bypass that
    linear stays a constant), and the scales and shifts of the norms go into the layers after them: linear layers and
    the reducing convolution, which has no padding. The norms of stages and of patch embeddings stay, because what
    follows them is padded, a head, or outside the network, and so do those before Swin's windows, which are padded, and
    before convolution mixers and skips. Convolution mixers become two convolutions, with their BatchNorm between as in
    the official fused checkpoints. It is computed in float64; outputs differ by rounding alone. The dtype, the device
    and whatever else the model has stay as they are.

    The copy is for inference: its parameters need no gradient, and ``train()`` is refused. Its state dict lacks the
    folded norms and ramps and has a mark in every block, by which each loader, with ``strict=False`` as well, refuses
    the weights of a model that is not folded, and a model that is not folded refuses these. To load weights that were
    saved after folding, fold a model of the same arch and settings first.

    Args:
        model: A backbone, a timm model of this package, or a detector, segmenter or classifier with one inside, in
            evaluation mode. It is left as it is. Blocks that are folded already are copied as they are.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: It has no block of this package, is in training mode, has the gates of a search, or has another
            layer in a block's place, such as a quantised or a pruned one.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'fold takes a model, not {type(model).__name__}.')
    name = type(model).__name__
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    if not blocks:
        raise ValueError(f'{name} has no block of this package, so there is nothing to fold.')
    if model.training or any(module.training for block in blocks for module in block.modules()):
        raise ValueError(f'{name} is in training mode, and a folded model is for inference alone. Call eval() first.')
    for block in _unfolded(model):
        _check_plain(block)
    folded = copy.deepcopy(model).requires_grad_(False)
    for block in _unfolded(folded):
        _fold_block(block)
    return folded


def _unfolded(model: nn.Module) -> list[Block]:
    return [module for module in model.modules() if isinstance(module, Block) and module.folded is None]


def _norms(block: Block) -> list[tuple[nn.LayerNorm, list[nn.Linear | nn.Conv2d]]]:
    """The norms of a block that can be folded, each with the layers that take what it returns.

    Raises:
        ValueError: The attention or the MLP is none of this package's.
    """
    for part, what, known in (
        (block.attn, 'attention', Attention | ConvMixer | Skip),
        (block.mlp, 'MLP', HiddenMlp),
    ):
        if not isinstance(part, known):
            raise ValueError(f'A block has {type(part).__name__} for its {what}, which cannot be folded.')
    if isinstance(block.attn, SearchMixer):
        raise ValueError(
            'A block has the gates of a search, which cannot be folded. Take the network that was found (found.py and '
            'found.pth in the work dir).'
        )
    attn, norms = block.attn, [(block.norm2, [block.mlp.fc1])]
    if isinstance(attn, Attention):  # what others make of the first norm is padded, or added as it is
        norms += [(block.norm1, attn.input_layers()), *attn.inner_norms()]
    return [(norm, behind) for norm, behind in norms if behind]


def _check_plain(block: Block) -> None:
    """Whether its layers are torch's own and compute with the weights and biases that they have as parameters.

    Raises:
        ValueError: They do not, so that a new weight would be lost or mean something else.
    """
    layers = [layer for norm, behind in _norms(block) for layer in (norm, *behind)]
    if isinstance(block.mlp, Mlp):
        layers.append(block.mlp.fc2)
    if isinstance(block.attn, SharedConvMixer):
        layers += [block.attn.v, block.attn.norm, block.attn.proj]
    for layer in layers:
        own = dict(layer.named_parameters(recurse=False))
        if type(layer) not in _PLAIN or not {'weight', 'bias'} <= own.keys():
            raise ValueError(
                f'{layer} cannot be folded: it is no longer the plain layer that the network was built with. Fold '
                'before quantising, and make pruning or a parametrization final first.'
            )


def _fold_block(block: Block) -> None:
    for norm, behind in _norms(block):
        _fold_norm(norm, behind)
    if isinstance(block.mlp, Mlp):
        block.mlp.fold_ramp()
    if isinstance(block.attn, SharedConvMixer):
        block.attn = block.attn.fused()
    setattr(block, MARK, torch.ones((), dtype=torch.bool, device=block.mlp.fc1.weight.device))


def _fold_norm(norm: nn.LayerNorm, behind: Sequence[nn.Linear | nn.Conv2d]) -> None:
    """Put a norm's scale and shift into the layers that take what it returns."""
    for layer in behind:
        weight = _exact(layer.weight)
        over_inputs = (-1, *[1] * (weight.ndim - 2))
        scale, shift = (_exact(tensor).reshape(over_inputs) for tensor in (norm.weight, norm.bias))
        _replace(layer, bias=_exact(layer.bias) + (weight * shift).flatten(1).sum(1), weight=weight * scale)
    # torch's LayerNorm is slower on the CPU without a scale and a shift than with them.
    for name, value in (('weight', torch.ones_like(norm.weight)), ('bias', torch.zeros_like(norm.bias))):
        delattr(norm, name)
        norm.register_buffer(name, value.detach(), persistent=False)


def _exact(tensor: Tensor) -> Tensor:
    """In float64, which not every accelerator has; the meta device has no values to move."""
    return tensor.detach().to('meta' if tensor.is_meta else 'cpu', torch.float64)


def _replace(layer: nn.Module, **tensors: Tensor) -> None:
    """Put new parameters in place of those of the same names, in the old ones' dtype and on their device."""
    for name, tensor in tensors.items():
        setattr(layer, name, nn.Parameter(tensor.to(getattr(layer, name)), requires_grad=False))
