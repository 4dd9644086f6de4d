"""CSWin Transformer (Dong et al. 2022)."""

from .cswin import CSWin

__all__ = ['CSWin']
