"""Networks out of trained ones: with other settings, from images alone."""

from .inheriting import BlockError, inherit_blocks

__all__ = ['BlockError', 'inherit_blocks']
