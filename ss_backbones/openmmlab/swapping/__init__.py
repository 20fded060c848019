"""Another backbone in a detector's or segmenter's config, and all that follows from it."""

from .plan import Plan, plan_swap
from .verifying import verify
from .writing import child_config

__all__ = ['Plan', 'child_config', 'plan_swap', 'verify']
