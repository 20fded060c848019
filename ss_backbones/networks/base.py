"""The one contract of a network: what the integrations, the loader, the tools and the tests ask it for."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm  # there is no public name for it
from torch.utils.checkpoint import checkpoint

from ..layers import (
    Block,
    DfcMlp,
    FusedConvMixer,
    HeadMixing,
    HiddenMlp,
    Mlp,
    SharedConvMixer,
    Skip,
    XNorm,
    drop_path_rates,
)
from ..layers.conv_mixer import SIDES
from ..layers.fast_paths import is_symbolic, is_traced
from ..layers.mlp import ALL_ACTIVATIONS, activations_of
from ..settings import BlockSetting
from .arguments import (
    Arch,
    NamedSettings,
    Settings,
    check_count,
    check_flag,
    check_image,
    check_rate,
    explain_unknown,
    resolve_arch,
    resolve_settings,
)

fx.wrap('check_image')  # torch.fx knows no sizes to decide by

StateDict = dict[str, Tensor]
KeyMap = Callable[[StateDict], StateDict]
MLPS = ('standard', 'dfc')


class Network(nn.Module):
    """Blocks with a setting each, without a head. A family is a subclass in a file of its own.

    A subclass says what it is by the class attributes, builds its layers after this constructor has checked what all
    networks share, and hands keywords that it does not know on to this constructor, which refuses unknown ones in
    words. It implements :meth:`forward`, :meth:`block_input`, :meth:`freezable`, :meth:`get_layer_depth` and
    :meth:`init_layer`.

    Args:
        arch: One of :attr:`archs`, or a dict with the fields of its entries.
        settings: 'specific' (SS), 'uniform' (the plain network), a name of :attr:`named_settings`, or a list with one
            BlockSetting or dict for every block of the arch, counted over all stages.
        in_channels: Channels of the image.
        mlp: 'standard', or 'dfc' for :class:`~ss_backbones.layers.DfcMlp` in every block, with settings other than
            'specific'.
        ramp: 'paper', 'bias' or 'none' for all blocks, see :class:`~ss_backbones.BlockSetting`; None leaves it to the
            settings, of which the named ones say 'paper'. Blocks without a ramp are not concerned.
        fused: Build convolution mixers in the form for inference, as in the checkpoints that the official code has
            fused, and not in the one that shares an attention's weights. It takes the weights of both.
        drop_rate: Dropout probability of tokens and in the blocks.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block; it rises linearly over all blocks from 0.
        with_cp: Recompute the blocks in the backward pass in place of keeping what they made (less memory).

    Attributes:
        archs: The named architectures.
        named_settings: Settings that have a name, beside 'specific' and 'uniform'.
        short_name: What stands before an arch in short names, such as those of the benchmark.
        part_name: What :meth:`freezable` counts after the stem, in words.
        backbone_keys: Starts of the state-dict keys that no classifier's checkpoint has.
        key_maps: From the keys of other projects' state dicts to this package's; each leaves all others alone.
        official_keys: From this package's keys to those of official code that has others; each leaves all others alone.
        computed_keys: Ends of the keys of what other projects save although it follows from the sizes; it is dropped.
        attn_split: Share of the tokens that bypass the projection in the last blocks of the specific setting.
        first_conv: The layer that takes the image.
        needs_attention: Whether a block must have attention, as what is read off a class token has seen no patch
            otherwise.
        rising_drop_path: Whether the probability to drop a branch rises from block to block; or it is the same in all.
        mixers: What can mix the tokens of a block, see :class:`~ss_backbones.BlockSetting`.
        head_mixing: How convolution mixers are made of an attention's heads, where there can be any.
        set_here: Arguments of the network that a subclass sets itself, and which nobody may give.
        unknown_hint: What to say beside of arguments that there are not.
        num_features: Channels of what a classifier's head gets.
        out_indices: Which maps are returned.
        channels: Channels of the returned maps.
        strides: Steps of the returned maps, in pixels of the image.
        proj_drop: As ``drop_rate`` says.
        attn_drop: As ``attn_drop_rate`` says.
        drop_paths: The probability to drop a branch in every block of the arch.
        not_built: Starts of the state-dict keys that belong to the arch and that this network leaves out.

    Raises:
        ValueError: An argument is out of its range; the text names it and what is possible.
        TypeError: ``arch`` or ``settings`` is of another type, or there is no such argument.
    """

    archs: ClassVar[Mapping[str, Arch]]
    named_settings: ClassVar[Mapping[str, NamedSettings]] = MappingProxyType({})
    short_name: ClassVar[str]
    part_name: ClassVar[str] = 'stages'
    backbone_keys: ClassVar[tuple[str, ...]] = ()
    key_maps: ClassVar[tuple[KeyMap, ...]] = ()
    official_keys: ClassVar[tuple[KeyMap, ...]] = ()
    computed_keys: ClassVar[tuple[str, ...]] = ()
    attn_split: ClassVar[float] = 0.25
    first_conv: ClassVar[str] = 'patch_embed.proj'
    needs_attention: bool = False
    rising_drop_path: ClassVar[bool] = True
    mixers: ClassVar[tuple[str, ...]] = ('attention',)
    head_mixing: ClassVar[HeadMixing | None] = None
    set_here: ClassVar[frozenset[str]] = frozenset()
    unknown_hint: ClassVar[str] = ''

    num_features: int
    out_indices: tuple[int, ...]
    channels: list[int]
    strides: list[int]
    not_built: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls.__signature__ = _signature_of(cls)

    def __init__(
        self,
        arch: str | Mapping[str, object],
        settings: Settings = 'specific',
        *,
        in_channels: int = 3,
        mlp: str = 'standard',
        ramp: str | None = None,
        fused: bool = False,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        **unknown: object,
    ) -> None:
        if unknown:
            raise TypeError(explain_unknown(type(self), unknown) + self.unknown_hint)
        super().__init__()
        self.arch = resolve_arch(arch, self.archs)
        self.settings = resolve_settings(
            settings, self.arch.plain_mlp_ratios(), self.attn_split, self.named_settings, self._has_widths_of
        )
        if ramp is not None:
            self.settings = [replace(setting, ramp=ramp) for setting in self.settings]
        check_flag('fused', fused)
        self.fused = fused
        self.check_mixers()
        check_count('in_channels', in_channels)
        for name, rate in (
            ('drop_rate', drop_rate),
            ('attn_drop_rate', attn_drop_rate),
            ('drop_path_rate', drop_path_rate),
        ):
            check_rate(name, rate)
        check_flag('with_cp', with_cp)
        if mlp not in MLPS:
            raise ValueError(f'mlp={mlp!r} is unknown. Known are {", ".join(MLPS)}.')
        if mlp == 'dfc' and settings == 'specific':
            raise ValueError(
                "mlp='dfc' does not go with settings='specific': DFC learns the activations, ramps and bypasses that "
                "these fix, and needs whole-numbered MLP ratios, not 3.5. Take settings='uniform'."
            )
        self.in_channels, self.with_cp, self.mlp = in_channels, with_cp, mlp
        self.proj_drop, self.attn_drop = drop_rate, attn_drop_rate
        depth = len(self.settings)
        self.drop_paths = drop_path_rates(drop_path_rate, depth) if self.rising_drop_path else depth * [drop_path_rate]
        self.register_state_dict_post_hook(_note_activations)

    def _has_widths_of(self, arch: str) -> bool:
        return self.arch.widths() == self.archs[arch].widths()

    def check_mixers(self) -> None:
        """Whether the blocks have mixers that this network can have.

        Raises:
            ValueError: One has not, or ``fused`` is set and none is a convolution.
        """
        for number, setting in enumerate(self.settings):
            if setting.mixer not in self.mixers:
                raise ValueError(
                    f'settings[{number}]: mixer={setting.mixer!r} is not possible in {type(self).__name__}; '
                    f'take one of {", ".join(self.mixers)}.'
                )
        if self.fused and not any(setting.mixer in SIDES for setting in self.settings):
            raise ValueError(
                f'fused=True is for convolution mixers ({", ".join(SIDES)}), and no block of these settings has one. '
                'Leave it out.'
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) to one (B, C, h, w) map for each of out_indices; h = ceil(H / stride).

        Any H and W from 1 up.

        Raises:
            ValueError: ``x`` is no batch of images with ``in_channels`` channels.
        """
        raise NotImplementedError

    def checked(self, x: Tensor) -> Tensor:
        """The batch of images as it is; see :meth:`forward`."""
        return check_image(x, self.in_channels)

    def all_blocks(self) -> list[Block]:
        """The built blocks over all stages, in the order of their settings."""
        return [module for module in self.modules() if isinstance(module, Block)]

    def block_input(self, index: int, x: Tensor) -> Tensor:
        """What a built block gets, for whom runs the blocks one by one.

        Args:
            index: The block.
            x: What the block before it returned; for the first one, the images (B, in_channels, H, W).
        """
        raise NotImplementedError

    def layout(self, height: int, width: int) -> tuple[object, ...]:
        """What the blocks get beside the tokens, for images of so many pixels."""
        return ()

    def count_for_search(self, height: int, width: int) -> tuple[list[tuple[int, int]], int]:
        """What the multiply-adds of a search go by, for images of so many pixels, in networks that can be searched.

        Returns:
            Height and width in tokens of every built block, and the multiply-adds of all that is neither mixer nor MLP,
            norms included, without a head, by the formula of SPViT's official code.
        """
        raise NotImplementedError

    def freezable(self) -> list[list[nn.Module | nn.Parameter]]:
        """What can be frozen, in order: the stem, then the built parts; each may consist of several things."""
        raise NotImplementedError

    def count_parts(self) -> int:
        """How many parts :meth:`freezable` would count after the stem if all of the arch were built."""
        raise NotImplementedError

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Where a parameter stands, for layer-wise learning rates.

        Args:
            param_name: Name of the parameter, with ``prefix`` before it.
            prefix: Where this network stands in the model, such as 'backbone.'.

        Returns:
            The layer and the number of layers: the stem is 0, the blocks are 1 and so on over all stages, and the last
            layer is whatever follows the blocks.
        """
        raise NotImplementedError

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters beside norms and biases that weight decay should leave alone."""
        return {f'{name}.gamma' for name, module in self.named_modules() if isinstance(module, XNorm)}

    def adapt_weights(self, weights: StateDict) -> list[str]:
        """Replace what of a checkpoint goes by the image's size, such as a position table, by what fits this network.

        Args:
            weights: The checkpoint's tensors in this package's keys.

        Returns:
            What was done, in words.
        """
        return []

    def smallest_dynamic_side(self) -> int:
        """The side in pixels from which on a graph for all sizes computes what the network computes."""
        return 1

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise the parameters of one layer that differ from torch's own initialisation."""

    def init_weights(self) -> None:
        """Initialise all that a state dict holds anew, such as after ``to_empty()``, which leaves memory as it was."""
        for module in self.modules():
            if hasattr(module, 'reset_parameters'):
                module.reset_parameters()
            if hasattr(module, 'reset_buffers'):
                module.reset_buffers()
        self.init_own()

    def init_own(self) -> None:
        """The family's initialisation of its layers, and of parameters that stand in no layer."""
        if not any(parameter.is_meta for parameter in self.parameters()):  # nothing to write, in seconds of time
            self.apply(self.init_layer)
            for module in self.modules():
                if isinstance(module, Mlp):
                    module.start_ramp()

    def make_mlp(
        self, dim: int, setting: BlockSetting, *, conv: bool = False, relu_before_conv: bool = False
    ) -> HiddenMlp:
        """The MLP that a block's setting means.

        Args:
            dim: Channels of the block.
            setting: Its numbers.
            conv: See :class:`~ss_backbones.layers.Mlp`.
            relu_before_conv: See :class:`~ss_backbones.layers.Mlp`.

        Raises:
            ValueError: The setting is impossible for this width, or for a DFC MLP.
        """
        hidden = setting.hidden_width(dim)
        options = {'conv': conv, 'relu_before_conv': relu_before_conv, 'drop': self.proj_drop}
        if self.mlp == 'dfc':
            _check_dfc(setting)
            return DfcMlp(dim, hidden, **options)
        bypass = int(dim * setting.mlp_split)
        ramp = {'ramp': setting.pos_scale, 'ramp_as': setting.ramp}
        return Mlp(dim, hidden, act=setting.act, bypass=bypass, **ramp, **options)

    def attention_arguments(self, dim: int, num_heads: int, setting: BlockSetting) -> dict[str, int | float]:
        """What any attention of a block with this setting is made with: its sizes and its probabilities.

        Args:
            dim: Channels of the block.
            num_heads: Its heads.
            setting: Its numbers.

        Raises:
            ValueError: The heads would get no channel.
        """
        return {
            'dim': dim,
            'num_heads': num_heads,
            'head_dim': head_width(dim, num_heads, setting.attn_ratio),
            'token_bypass': setting.attn_split,
            'attn_drop': self.attn_drop,
            'proj_drop': self.proj_drop,
        }

    def make_mixer(self, dim: int, num_heads: int, setting: BlockSetting) -> nn.Module | None:
        """The mixer that a block's setting means, or None where it is an attention, which the family makes.

        Args:
            dim: Channels of the block.
            num_heads: Heads that an attention would have there.
            setting: Its numbers.
        """
        if setting.mixer == 'skip':
            return Skip()
        if setting.mixer not in SIDES:
            return None
        side = SIDES[setting.mixer]
        if self.fused:
            return FusedConvMixer(dim, dim // num_heads, side, self.proj_drop)
        return SharedConvMixer(dim, num_heads, side, self.head_mixing, self.proj_drop)

    def __prepare_scriptable__(self) -> NoReturn:
        """What torch.jit.script asks for first.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f'{type(self).__name__} cannot be scripted: its blocks differ by their settings, and TorchScript does not '
            'follow that. Take torch.jit.trace, torch.compile, torch.export or the command ss-backbones export (ONNX).'
        )


def _note_activations(network: Network, state_dict: object, prefix: str, metadata: dict[str, object]) -> None:
    """What the MLPs note each, at the network: while it loads inside a detector, it sees the metadata of no part."""
    metadata[ALL_ACTIVATIONS] = activations_of(network)


def run_block(block: nn.Module, with_cp: bool, x: Tensor, *layout: object) -> Tensor:
    """Call a block; ``with_cp`` keeps its input alone for the backward pass, and computes the rest again.

    The hidden features of one MLP are by far the most that is left to hold at once. So of a map what the MLP gets is
    kept as well, and the MLP is computed again some rows at a time.
    """
    if not with_cp or not torch.is_grad_enabled() or is_symbolic(x):
        return block(x, *layout)
    if isinstance(block, Block) and block.may_recompute_rows(x):

        def before_mlp(x: Tensor) -> Tensor:
            return block.between(block.add_attention(x, *layout), *layout)

        return block.add_mlp_by_rows(_recomputed(before_mlp, block, x))
    return _recomputed(block, block, x, *layout)


def _recomputed(function: Callable[..., Tensor], block: nn.Module, x: Tensor, *layout: object) -> Tensor:
    """What a function of a block returns, of which the backward pass computes the inside again."""
    # Non-reentrant: the only kind that works with DDP and with frozen parts below.
    if (norms := _counting_norms(block)) and not is_traced():
        return checkpoint(function, x, *layout, use_reentrant=False, context_fn=lambda: (nullcontext(), _still(norms)))
    return checkpoint(function, x, *layout, use_reentrant=False)


def _counting_norms(block: nn.Module) -> list[_BatchNorm]:
    """The norms of a block that change with every batch."""
    return [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]


@contextmanager
def _still(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Norms that compute with a batch as ever and do not count it: it has been counted."""
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, count) in zip(norms, kept, strict=True):
        norm.momentum, norm.num_batches_tracked = 0.0, count.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def network_in(model: nn.Module) -> Network:
    """The network of this package in a backbone, a classifier or a wrapper around one.

    Raises:
        ValueError: There is none.
    """
    found = next((module for module in model.modules() if isinstance(module, Network)), None)
    if found is None:
        raise ValueError(f'{type(model).__name__} holds no network of this package.')
    return found


def head_width(dim: int, num_heads: int, attn_ratio: float) -> int:
    """Channels of query, key and value in one head.

    Raises:
        ValueError: The heads would get no channel.
    """
    width = int(dim // num_heads * attn_ratio)
    if width < 1:
        raise ValueError(
            f'attn_ratio={attn_ratio} leaves a head of {dim // num_heads} channels with none; take a larger attn_ratio.'
        )
    return width


def _signature_of(cls: type[Network]) -> inspect.Signature:
    """All arguments of a network, whose constructors hand the keywords that they do not know on to the next one."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if '__init__' in vars(base):
            for parameter in list(inspect.signature(vars(base)['__init__']).parameters.values())[1:]:
                if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                    found.setdefault(parameter.name, parameter)
        if base is Network:
            break
    given = [parameter for name, parameter in found.items() if name not in cls.set_here]
    return inspect.Signature(sorted(given, key=lambda parameter: parameter.kind))


def _check_dfc(setting: BlockSetting) -> None:
    """Whether a block with this setting can have a DFC MLP.

    Raises:
        ValueError: It has a broken mlp_ratio, or an activation, ramp or bypass, which DFC replaces.
    """
    plain = BlockSetting(mlp_ratio=round(setting.mlp_ratio) or 1)
    names = ('mlp_ratio', 'act', 'pos_scale', 'mlp_split')
    wrong = [name for name in names if getattr(setting, name) != getattr(plain, name)]
    if wrong:
        given = ', '.join(f'{name}={getattr(setting, name)!r}' for name in wrong)
        raise ValueError(
            f"mlp='dfc' does not go with {given}: a DFC MLP has no activation, ramp or bypass, and needs a "
            "whole-numbered mlp_ratio. Take settings='uniform', or a list with such a mlp_ratio, attn_ratio and "
            'attn_split alone.'
        )
