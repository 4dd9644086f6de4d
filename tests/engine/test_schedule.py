"""Schedules in fractions of the training."""

import pytest

from detrove.engine.schedule import resolve_fractions


def test_floats_are_fractions_and_ints_stay():
    schedule = [dict(type='LinearLR', by_epoch=False, begin=0, end=0.1),
                dict(type='MultiStepLR', milestones=[0.5, 11]), dict(type='CosineAnnealingLR', T_max=1.0, eta_min=0.5)]
    warmup, steps, cosine = resolve_fractions(schedule, max_epochs=12, max_iters=2000)
    assert (warmup['begin'], warmup['end']) == (0, 200)
    assert steps['milestones'] == [6, 11]
    assert cosine['T_max'] == 12 and cosine['eta_min'] == 0.5
    assert schedule[0]['end'] == 0.1  # the config is left alone


def test_schedules_of_several_optimisers():
    both = resolve_fractions(dict(a=dict(type='StepLR', end=0.5), b=[dict(type='StepLR', end=7)]), 10, 100)
    assert both['a']['end'] == 5 and both['b'][0]['end'] == 7


def test_a_float_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r'end=12\.0 is a float, which means a fraction'):
        resolve_fractions(dict(type='StepLR', end=12.0), 10, 100)
