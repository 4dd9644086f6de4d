"""Detectors."""

from .one_detr import OneDETR

__all__ = ['OneDETR']
