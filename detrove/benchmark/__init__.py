"""Measuring models side by side: parameters, operations, time and memory of training steps and of inference."""

from .contestant import Contestant, ExternalModel
from .lineup import line_up
from .measure import Measurement, measure
from .mm_models import ConfigContestant
from .report import as_json, as_table
from .workload import Workload

__all__ = ['ConfigContestant', 'Contestant', 'ExternalModel', 'Measurement', 'Workload', 'as_json', 'as_table',
           'line_up', 'measure']
