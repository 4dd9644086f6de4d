"""Measuring models side by side: parameters, operations, time and memory of training steps and of inference."""

from .contestant import Contestant
from .measure import Measurement, measure
from .report import as_json, as_table

__all__ = ['Contestant', 'Measurement', 'as_json', 'as_table', 'measure']
