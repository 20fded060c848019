"""Weights of every layout through timm's own ways in: ``pretrained=True`` with a file, and ``checkpoint_path``."""

import logging
from collections.abc import Mapping

from timm.models._features import FeatureGetterNet  # there is no public name for it
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from ..checkpoints.extraction import extract
from ..checkpoints.files import read_checkpoint
from ..checkpoints.loading import check_memory
from ..checkpoints.matching import HEAD, match
from ..errors import MismatchError

_logger = logging.getLogger(__name__)
_WRAPPED = 'model.'  # where timm's wrapper for features_only keeps the network


def as_own(
    module: nn.Module,
    weights: Mapping[str, object],
    assign: bool = False,
    *,
    source: str = 'the given weights',
    use_ema: bool = True,
) -> dict[str, Tensor]:
    """Weights of any layout that :func:`~ss_backbones.load_weights` knows, as the module's whole state dict.

    A head that the weights lack or that has other classes is the module's own, with a warning.

    Args:
        module: The network, which is left as it is.
        weights: What a checkpoint holds.
        assign: They are to become the module's tensors, which may then be on the meta device.
        source: What to call them in errors.
        use_ema: Prefer averaged weights where there are both.

    Raises:
        MismatchError: They are of another network, or lack a tensor other than the head's.
        CheckpointError: There are none, or they cannot be used, see :func:`~ss_backbones.load_weights`; or the module
            is on the meta device.
    """
    if not assign:
        check_memory(module)
    try:
        found = match(extract(weights, source, average=use_ema).tensors, module, source=source)
    except MismatchError as error:
        raise MismatchError(error.report, error.problem, _advice('partial=True')) from error
    report = found.report
    lacking = [key for key in report.not_loaded if not key.startswith(HEAD)]
    if lacking:
        raise MismatchError(report, f'the checkpoint lacks {len(lacking)} tensors beside the head', _advice())
    name = type(module).__name__
    if report.share == 1:
        _logger.info(f'{name}: {report}')
    else:
        _logger.warning(
            f'{name}: the head was not in the checkpoint as the model has it and stays as it was.\n{report}'
        )
    return {**module.state_dict(), **found.tensors}


def _advice(*options: str) -> str:
    call = ', '.join(('model', 'FILE', *options))
    return f"To take what fits and keep the model's own for the rest, call ss_backbones.load_weights({call})."


def load_file(model: nn.Module, path: str, *, use_ema: bool = True, with_head: bool = True) -> _IncompatibleKeys:
    """Load a file of any layout into a timm model of this package, all of it or nothing.

    Args:
        model: A classifier, or its :class:`Features`.
        path: The file.
        use_ema: Prefer averaged weights where it has both.
        with_head: Load the head too, where it fits.

    Raises:
        CheckpointError: The file cannot be read, or does not fit; the text names it.
    """
    network = model.model if isinstance(model, Features) else model
    own = as_own(network, read_checkpoint(path), source=path, use_ema=use_ema)
    if not with_head:
        own = {key: value for key, value in own.items() if not key.startswith(HEAD)}
    return nn.Module.load_state_dict(network, own, strict=with_head)


def checkpoint_filter_fn(weights: Mapping[str, object], model: nn.Module) -> dict[str, Tensor]:
    """timm's filter for ``pretrained=True``: what it loads into the model next.

    Two parts it would not load, so they are put in their places here: a head whenever it has other classes than the
    model's configuration says, and a first convolution that is adapted already.

    Raises:
        CheckpointError: The weights are of another network.
    """
    filtered = as_own(model, weights)
    first_conv = f'{model.first_conv}.weight'
    placed = {first_conv}
    if model.pretrained_cfg['num_classes'] >= 0:  # or else timm's train.py asks for a new head in any case
        placed |= {key for key in filtered if key.startswith(HEAD)}
    model.load_state_dict({key: filtered[key] for key in placed}, strict=False)
    if model.in_chans != 3 and hasattr(model, '_traits'):
        # A timm with traits would warn that nothing is left to adapt, and skips what is not there; an older one needs
        # it.
        del filtered[first_conv]
    return filtered


class Features(FeatureGetterNet):
    """timm's wrapper for ``features_only=True``; it takes the weights of whole networks."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks in the backward pass, or keep what they made."""
        self.model.set_grad_checkpointing(enable)

    def load_state_dict(
        self, state_dict: Mapping[str, object], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Torch's own; with ``strict``, weights of any layout are made this network's before.

        Raises:
            CheckpointError: They are of another network.
        """
        if strict:
            own = as_own(self.model, state_dict, assign)
            state_dict = {f'{_WRAPPED}{key}': value for key, value in own.items()}
        return super().load_state_dict(state_dict, strict, assign)
