"""What makes a network of this package a classifier as timm's tools expect it: a head, features, and their ways."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from timm.models._features import feature_take_indices  # there is no public name for it
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from ..layers import Attention
from ..networks.arguments import Settings, explain_unknown
from ..settings import BlockSetting
from .weights import as_own, load_file


class Classifier:
    """Goes before a network in the bases of a timm model.

    Args:
        arch: See :class:`~ss_backbones.networks.Network`; so are the arguments that are not named here.
        settings: See :class:`~ss_backbones.networks.Network`.
        num_classes: Classes of the head; 0 for none.
        global_pool: The model's own pooling (:attr:`pooling`), or '' for features as they are, without a head.
        in_chans: Channels of the image.
        drop_rate: Dropout probability before the head.
        proj_drop_rate: Dropout probability of the tokens and in the blocks.

    Attributes:
        pooling: timm's name for how the head gets one vector for each image.
        feature_indices: What features_only gives unasked.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: There is no such argument.
    """

    pooling: ClassVar[str]
    feature_indices: ClassVar[int | tuple[int, ...]]
    set_here: ClassVar[frozenset[str]] = frozenset({'in_channels', 'out_indices', 'pyramid', 'pyramid_blocks'})
    is_init: ClassVar[bool] = True  # mmengine would initialise it again, and lose weights that timm has loaded

    def __init__(
        self,
        arch: str | Mapping[str, object],
        settings: Settings = 'specific',
        *,
        num_classes: int = 1000,
        global_pool: str | None = None,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        **network: Any,
    ) -> None:
        if unknown := network.keys() & self.set_here:
            raise TypeError(explain_unknown(type(self), unknown))
        super().__init__(arch, settings, in_channels=in_chans, out_indices=-1, drop_rate=proj_drop_rate, **network)
        self.in_chans = in_chans
        self.head_hidden_size = self.num_features
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, self.pooling if global_pool is None else global_pool)
        self.feature_info = [
            dict(num_chs=channels, reduction=stride, module=module)
            for channels, stride, module in self.describe_features()
        ]

    def init_own(self) -> None:
        """See :class:`~ss_backbones.networks.Network`; the head, where there is one by now, starts like a new one."""
        super().init_own()
        if isinstance(getattr(self, 'head', None), nn.Linear):
            _init_head(self.head)

    def describe_features(self) -> list[tuple[int, int, str]]:
        """Channels, stride and module of everything that features_only can give."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to what the head pools."""
        raise NotImplementedError

    def pool(self, x: Tensor) -> Tensor:
        """The features to one vector (B, C) for each image."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The features to (B, num_classes), or to (B, C) before the head; as they are for ``global_pool=''``."""
        x = self.head_drop(self.pool(x) if self.global_pool else x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def load_state_dict(
        self, state_dict: Mapping[str, object], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Torch's own; with ``strict``, weights of any layout, channels or position table are made the model's before.

        A head that they lack or that has other classes stays as it is, with a
        warning; whatever else does not fit is refused, and nothing is loaded then.

        Raises:
            CheckpointError: The weights are of another network.
        """
        if strict:
            state_dict = as_own(self, state_dict, assign)
        return super().load_state_dict(state_dict, strict, assign)

    def load_pretrained(self, path: str) -> None:
        """Load a file of any layout; timm's ``pretrained=True`` with a file comes here.

        The file's head is taken where it has the model's classes, and the model's configuration does not ask for a new
        one (``num_classes`` of -1 there, as timm's train.py has it).

        Raises:
            CheckpointError: The file cannot be read, or is of another network; the text names it.
        """
        load_file(self, path, with_head=self.pretrained_cfg['num_classes'] >= 0)

    def get_classifier(self) -> nn.Module:
        """The head, or an Identity for no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new head in place of the old one.

        Args:
            num_classes: Its classes; 0 for no head.
            global_pool: The model's own pooling, or '' for features as they are, without a head; None for the model's
                own where there are classes, and no change else.

        Raises:
            ValueError: ``num_classes`` is no whole number or negative, ``global_pool`` is another than the model's, or
                it is '' where there are classes.
        """
        pool = global_pool
        if pool is None:
            pool = self.pooling if num_classes else self.global_pool
        if pool not in (self.pooling, ''):
            raise ValueError(
                f"global_pool={pool!r} is not possible: this model has {self.pooling!r} alone, or '' without classes."
            )
        if num_classes and not pool:
            raise ValueError(
                f"global_pool='' leaves no vector for a head of num_classes={num_classes!r}; take "
                f'global_pool={self.pooling!r} or num_classes=0.'
            )
        body = next(self.parameters())  # the model may have been moved or cast since it was built
        self.head = _make_head(self.num_features, num_classes).to(body.device, body.dtype).train(self.training)
        self.num_classes, self.global_pool = num_classes, pool

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks in the backward pass, or keep what they made."""
        for module in self.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """A function from a parameter's name to its layer: the stem, every block, and the rest; ``coarse`` or not."""
        return lambda name: self.get_layer_depth(name)[0]

    @property
    def _model_args(self) -> dict[str, object]:
        """What timm writes into a hub folder's config, as JSON, to build the model again."""
        return vars(self).get('_timm_model_args', {})

    @_model_args.setter
    def _model_args(self, given: Mapping[str, object]) -> None:
        plain = dict(given)
        if isinstance(plain.get('settings'), list | tuple):
            plain['settings'] = [asdict(item) if isinstance(item, BlockSetting) else item for item in plain['settings']]
        vars(self)['_timm_model_args'] = plain


class StagedClassifier(Classifier):
    """A staged network with a head on the mean of its last map."""

    pooling = 'avg'
    feature_indices = (0, 1, 2, 3)

    def describe_features(self) -> list[tuple[int, int, str]]:
        """See :class:`Classifier`: the stages."""
        return [(dim, 4 * 2**i, f'{self.stage_list}.{i}') for i, dim in enumerate(self.arch.embed_dims)]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the last map (B, C, h, w)."""
        last = len(self.built_stages()) - 1
        return self.finish_map(last, self.forward_stages(x, {last})[-1])

    def pool(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C)."""
        return x.mean(dim=(2, 3))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps after some stages, as timm's models give them.

        Args:
            x: Images (B, in_chans, H, W).
            indices: Stages, in any order; a number is the last so many, and None all.
            norm: Put the norm before the head on the map of the last stage. Norms that are part of a stage are there
                in any case.
            stop_early: Run no stage after the last that is wanted.
            output_fmt: 'NCHW'.
            intermediates_only: Leave out the last map.

        Raises:
            ValueError: ``output_fmt`` is another.

        Returns:
            The last map, as the head would get it where it is the last stage's, and the list of maps (B, C, h, w); or
            the list alone.
        """
        _check_format(output_fmt, ('NCHW',))
        final = len(self.built_stages()) - 1
        taken, last = feature_take_indices(final + 1, indices)
        end = last if stop_early else final
        maps = self.forward_stages(x, {*taken, end})
        finished = self.finish_map(end, maps[-1]) if end == final else maps[-1]
        wanted = maps if end in taken else maps[:-1]
        if norm and final in taken:
            wanted = [*wanted[:-1], finished]
        return wanted if intermediates_only else (finished, wanted)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages that these indices do not need, and the head; norms that are part of a stage are kept."""
        stages = self.built_stages()
        taken, last = feature_take_indices(len(stages), indices)
        pruned = last < len(stages) - 1
        self.keep_stages(last + 1, with_norm=not prune_norm)
        self.num_features = self.head_hidden_size = self.arch.embed_dims[last]
        if prune_head or pruned:
            self.reset_classifier(0)
        return taken


class ColumnarClassifier(Classifier):
    """A columnar network with a head on its class token.

    Args:
        arch: See :class:`Classifier`; so are the arguments that are not named here.
        settings: See :class:`Classifier`.
    """

    pooling = 'token'
    feature_indices = 3

    def __init__(self, arch: str | Mapping[str, object], settings: Settings = 'specific', **options: Any) -> None:
        super().__init__(arch, settings, **options)
        if self.needs_attention and not any(isinstance(block.attn, Attention) for block in self.blocks):
            raise ValueError(
                'No block has attention: convolutions leave the class token as it came, so that the classes would be '
                "read from what has seen no patch. Take mixer='attention' or 'ufo' for a block at least. Backbones "
                'have no such need.'
            )

    @property
    def needs_attention(self) -> bool:
        """See :class:`~ss_backbones.networks.Network`."""
        return bool(self.prefix_tokens)

    def describe_features(self) -> list[tuple[int, int, str]]:
        """See :class:`Classifier`: the blocks."""
        return [(self.arch.embed_dim, self.patch_size, f'blocks.{i}') for i in range(self.arch.depth)]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the tokens after the last norm (B, 1 + N, C), class token first."""
        return self.forward_tokens(x)[0]

    def pool(self, x: Tensor) -> Tensor:
        """(B, 1 + N, C) to (B, C)."""
        return x[:, 0]

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
            return_prefix_tokens: Give the class token (B, 1, C) beside each; tensors of no tokens (B, 0, C) where it
                comes after all blocks.
            norm: Put the last norm on each.
            stop_early: Run no block after the last that is wanted.
            output_fmt: 'NCHW' for maps (B, C, h, w), 'NLC' for tokens (B, N, C) without the class token.
            intermediates_only: Leave out the last tokens.

        Raises:
            ValueError: ``output_fmt`` is another.

        Returns:
            The tokens after the last norm and the list, or the list alone.
        """
        _check_format(output_fmt, ('NCHW', 'NLC'))
        taken, last = feature_take_indices(len(self.blocks), indices)
        final, tokens = self.forward_tokens(x, taken, stop=last + 1 if stop_early else None)
        tokens = [self.norm(t) if norm else t for t in tokens]
        if output_fmt == 'NCHW':
            out = [self.as_map(t, *x.shape[-2:]).contiguous() for t in tokens]
        else:
            out = [t[:, self.prefix_tokens :] for t in tokens]
        if return_prefix_tokens:
            out = [(o, t[:, : self.prefix_tokens]) for o, t in zip(out, tokens, strict=True)]
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


def _make_head(features: int, num_classes: int) -> nn.Module:
    """A linear layer, or nothing for no classes.

    Raises:
        ValueError: ``num_classes`` is no whole number, or negative.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise ValueError(f'num_classes={num_classes!r} must be a whole number, 0 for no head.')
    if not num_classes:
        return nn.Identity()
    head = nn.Linear(features, num_classes)
    _init_head(head)
    return head


def _init_head(head: nn.Linear) -> None:
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)


def _check_format(output_fmt: str, possible: Sequence[str]) -> None:
    if output_fmt not in possible:
        raise ValueError(f'output_fmt={output_fmt!r} is not possible; take {" or ".join(possible)}.')


def check_patch_size(given: int | Sequence[int] | None, own: int, other: str = '') -> None:
    """Whether a side, or a height and a width, is that of a model's patches; None is always.

    Raises:
        ValueError: It is not; ``other`` says what else there is to do.
    """
    if given is not None and {own} != {*([given] if isinstance(given, int) else given)}:
        raise ValueError(
            f'patch_size={given!r} is not possible: the weights are for patches of {own} x {own} pixels. '
            f'Leave it out{other}.'
        )


def record_input_size(model: nn.Module, img_size: tuple[int, int]) -> None:
    """Tell timm's tools (its data configuration, its export to the hub) of a new size, in the versions that ask."""
    try:
        from timm.models._input import update_model_input_size  # there is no public name for it
    except ImportError:
        return
    update_model_input_size(model, img_size)
