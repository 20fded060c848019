"""Checkpoints of all layouts: read safely, matched with a network, loaded with a report, identified and converted."""

from ..errors import CheckpointError
from .loading import load_weights
from .matching import LoadReport

__all__ = ['CheckpointError', 'LoadReport', 'load_weights']
