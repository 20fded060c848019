"""timm's ``checkpoint_path`` for this package's models: the file is read as everywhere here, and named in every error.

timm reads the file before it asks the model, with torch's and safetensors' own errors, and offers no place for another
reader. So its function is replaced by one that does the same for all other models.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import timm
from timm.models import _factory, _helpers
from torch import nn

from ..checkpoints.files import read_checkpoint
from .classifier import Classifier
from .weights import Features, load_file


def register() -> None:
    """Put it in the place of timm's own; again changes nothing."""
    if not hasattr(_helpers.load_checkpoint, '__wrapped__'):
        ours = _for_own_models(_helpers.load_checkpoint)
        for module in (_helpers, _factory, timm.models):
            module.load_checkpoint = ours


def _for_own_models(theirs: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(theirs)
    def load_checkpoint(model: nn.Module, checkpoint_path: str, *args: Any, **options: Any) -> Any:
        if not isinstance(model, Classifier | Features):
            return theirs(model, checkpoint_path, *args, **options)
        if not args and options.keys() <= {'use_ema', 'device', 'weights_only'}:
            return load_file(model, str(checkpoint_path), use_ema=options.get('use_ema', True))
        read_checkpoint(str(checkpoint_path))  # for its words; how it is loaded is the caller's choice
        return theirs(model, checkpoint_path, *args, **options)

    return load_checkpoint
