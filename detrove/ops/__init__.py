"""Stateless tensor functions, each with a readable PyTorch reference, and the stand-in for mmcv's compiled ops."""

from .ms_deform_attn import ms_deform_attn
from .neighborhood_attention import neighborhood_attention

__all__ = ['ms_deform_attn', 'neighborhood_attention']
