"""NAT, DiNAT and DiNAT_s (Hassani et al. 2023; Hassani and Shi 2022)."""

from .attention import NeighborhoodAttention2d
from .dinat import NAT, DiNAT

__all__ = ['NAT', 'DiNAT', 'NeighborhoodAttention2d']
