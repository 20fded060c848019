"""What timm's tools expect of every model beside its forward."""

from collections.abc import Callable, Mapping, Sequence

from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

from .head import make_head
from .weights import as_own


class TimmMixin:
    """Goes before a network in the bases of a classifier."""

    pooling: str  # timm's name for how the head gets one vector for each image
    global_pool: str  # the same, or '' where there is no head and the features leave as they are

    def load_state_dict(
        self, state_dict: Mapping[str, object], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Torch's own; with ``strict``, weights of any layout, channels or position table are made the model's before.

        timm's ``checkpoint_path`` comes here. A head that they lack or that has other classes stays as it is, with a
        warning; whatever else does not fit is refused, and nothing is loaded then.

        Raises:
            CheckpointError: The weights are of another network.
        """
        if strict:
            state_dict = as_own(self, state_dict, assign)
        return super().load_state_dict(state_dict, strict, assign)

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
        self.head = make_head(self.num_features, num_classes).to(body.device, body.dtype).train(self.training)
        self.num_classes, self.global_pool = num_classes, pool

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks in the backward pass, or keep what they made."""
        for module in self.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """A function from a parameter's name to its layer: the stem, every block, and the rest; ``coarse`` or not."""
        return lambda name: self.get_layer_depth(name)[0]


def check_format(output_fmt: str, possible: Sequence[str]) -> None:
    """A layout of feature maps.

    Raises:
        ValueError: It is none of the possible ones.
    """
    if output_fmt not in possible:
        raise ValueError(f'output_fmt={output_fmt!r} is not possible; take {" or ".join(possible)}.')


def record_input_size(model: nn.Module, img_size: tuple[int, int]) -> None:
    """Tell timm's tools (its data configuration, its export to the hub) of a new size, in the versions that ask."""
    try:
        from timm.models._input import update_model_input_size  # there is no public name for it
    except ImportError:
        return
    update_model_input_size(model, img_size)
