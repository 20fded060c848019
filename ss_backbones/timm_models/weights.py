"""Weights of every layout through timm's own ways in: ``pretrained=True`` with a file, and ``checkpoint_path``."""

import copy
import logging
from collections.abc import Mapping

from timm.models._features import FeatureGetterNet  # there is no public name for it
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from ..checkpoints.files import CheckpointError
from ..checkpoints.loading import HEAD, load_weights, misfit
from ..checkpoints.resizing import FIRST_CONV

_logger = logging.getLogger(__name__)
_WRAPPED = 'model.'  # where timm's wrapper for features_only keeps the network


def is_own(module: nn.Module, weights: Mapping[str, object]) -> bool:
    """Whether these are all of the module's own tensors: the same keys and shapes, and the same ramps."""
    own = module.state_dict()
    return weights.keys() == own.keys() and not any(misfit(key, weights[key], own[key]) for key in own)


def load_any_layout(module: nn.Module, weights: Mapping[str, object]) -> Mapping[str, object]:
    """The weights as they are where they are the module's own, else those of any layout as the module's state dict."""
    return weights if is_own(module, weights) else as_own(module, weights)


def as_own(module: nn.Module, weights: Mapping[str, object]) -> dict[str, Tensor]:
    """Weights of any layout that :func:`~ss_backbones.load_weights` knows, as the module's whole state dict.

    A head that the weights lack or that has other classes is the module's own, with a warning.

    Raises:
        CheckpointError: They are of another network, or lack a tensor other than the head's.
    """
    trial = copy.deepcopy(module)  # so that nothing of what is refused stays in the module
    report = load_weights(trial, weights)
    lacking = [key for key in report.missing if not key.startswith(HEAD)]
    if lacking:
        raise CheckpointError(
            f'{report}\nNothing was loaded: the checkpoint lacks {len(lacking)} tensors beside the head. To keep the '
            "model's own in their places, pass the file to ss_backbones.load_weights."
        )
    name = type(module).__name__
    if report.share == 1:
        _logger.info(f'{name}: {report}')
    else:
        _logger.warning(
            f'{name}: the head was not in the checkpoint as the model has it and stays as it was.\n{report}'
        )
    return trial.state_dict()


def checkpoint_filter_fn(weights: Mapping[str, object], model: nn.Module) -> dict[str, Tensor]:
    """timm's filter for ``pretrained=True``: the model takes what it can use, and timm finds that in place.

    Raises:
        CheckpointError: The weights are of another network.
    """
    filtered = as_own(model, weights)
    if model.pretrained_cfg['num_classes'] < 0:  # so timm's train.py asks for a new head in any case
        filtered |= {key: value for key, value in model.state_dict().items() if key.startswith(HEAD)}
    model.load_state_dict(filtered)
    if model.in_chans != 3 and hasattr(model, '_traits'):
        # Adapted and loaded by now. A timm with traits would warn that nothing is left to adapt, and skips what is not
        # there; an older one needs it.
        del filtered[FIRST_CONV]
    return filtered


class Features(FeatureGetterNet):
    """timm's wrapper for ``features_only=True``; it takes the weights of whole networks."""

    def load_state_dict(
        self, state_dict: Mapping[str, object], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Torch's own; with ``strict``, weights of any layout are made this network's before.

        Raises:
            CheckpointError: They are of another network.
        """
        if strict and not is_own(self, state_dict):
            state_dict = {f'{_WRAPPED}{key}': value for key, value in as_own(self.model, state_dict).items()}
        return super().load_state_dict(state_dict, strict, assign)
