"""Stateless tensor functions, each with a readable PyTorch reference, and the stand-in for mmcv's compiled
ops."""
