"""Image classifiers with mmengine's Runner and timm's data; importing this registers the parts."""

from . import hooks, loading
from .classifier import ImageClassifier
from .dataset import build_dataset
from .errors import DataError
from .metric import Accuracy
from .sampler import EpochSampler

__all__ = [
    'Accuracy',
    'DataError',
    'EpochSampler',
    'ImageClassifier',
    'build_dataset',
    'hooks',
    'loading',
]
