"""Swin Transformer (Liu et al. 2021), the backbone."""

from .swin import Swin

__all__ = ['Swin']
