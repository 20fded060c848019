"""The face to timm: importing this registers the models."""

from .pvt_v2 import SSPVTv2Classifier
from .registration import MODEL_NAMES
from .vit import SSViTClassifier

__all__ = ['MODEL_NAMES', 'SSPVTv2Classifier', 'SSViTClassifier']
