"""What timm's tools expect of every model beside its forward."""

from collections.abc import Callable, Sequence

from torch import nn

from .head import make_head


class TimmMixin:
    """Goes before a network in the bases of a classifier."""

    pooling: str  # timm's name for how the head gets one vector for each image

    def get_classifier(self) -> nn.Module:
        """The head, or an Identity for no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new head in place of the old one.

        Raises:
            ValueError: ``num_classes`` is no whole number or negative, or ``global_pool`` is another than the model's.
        """
        if global_pool not in (None, self.pooling):
            raise ValueError(f'global_pool={global_pool!r} is not possible: this model has {self.pooling!r} alone.')
        self.head = make_head(self.num_features, num_classes)
        self.num_classes = num_classes

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
