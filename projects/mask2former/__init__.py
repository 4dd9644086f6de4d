"""Mask2Former (Cheng et al. 2022): MMDetection's and MMSegmentation's, reading official checkpoints."""

from .models import Mask2FormerDetector, Mask2FormerSegmentor

__all__ = ['Mask2FormerDetector', 'Mask2FormerSegmentor']
