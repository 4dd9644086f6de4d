"""Assignment of objects to queries."""

from .hungarian import HungarianMatcher

__all__ = ['HungarianMatcher']
