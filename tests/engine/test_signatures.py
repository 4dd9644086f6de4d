"""Which arguments a class takes, through its inheritance."""

import pytest
from mmdet.models import RetinaHead
from mmengine.hooks import EMAHook
from torch.optim import AdamW

from detrove.engine.signatures import accepted_arguments, find_registered, registered_names, suggest


class Base:
    def __init__(self, a, b=1):
        pass


class PassesOn(Base):
    def __init__(self, c, **kwargs):
        super().__init__(1, **kwargs)


class PassesOnAsInPython2(PassesOn):
    def __init__(self, d, **kwargs):
        super(PassesOnAsInPython2, self).__init__(d, **kwargs)  # noqa: UP008


class SkipsOne(PassesOn):
    def __init__(self, d, **kwargs):
        super(PassesOn, self).__init__(d, **kwargs)


class Inspects(Base):
    def __init__(self, **kwargs):
        kwargs.pop('hidden', None)
        super().__init__(1, **kwargs)


class Keeps:
    def __init__(self, **kwargs):
        self.kwargs = kwargs


def function(a, *, b):
    pass


@pytest.mark.parametrize(
    ('target', 'names'),
    [
        (Base, {'a', 'b'}),
        (PassesOn, {'a', 'b', 'c'}),
        (PassesOnAsInPython2, {'a', 'b', 'c', 'd'}),
        (SkipsOne, None),
        (Inspects, None),
        (Keeps, None),
        (EMAHook, None),
        (function, {'a', 'b'}),
        (object, set()),
    ],
)
def test_accepted_arguments(target, names):
    assert accepted_arguments(target) == names


def test_accepted_arguments_of_real_classes():
    assert {'num_classes', 'stacked_convs', 'feat_channels', 'anchor_generator'} <= accepted_arguments(RetinaHead)
    assert {'lr', 'weight_decay', 'betas'} <= accepted_arguments(AdamW)


def test_find_registered():
    assert find_registered('RetinaHead', ('MODELS',), 'mmdet') is RetinaHead
    assert find_registered('mmdet.RetinaHead', ('MODELS',), 'mmseg') is RetinaHead
    assert find_registered(RetinaHead, ('MODELS',), 'mmdet') is RetinaHead
    assert find_registered('RetinaHed', ('MODELS', 'TASK_UTILS'), 'mmdet') is None
    assert 'RetinaHead' in registered_names(('MODELS',), 'mmdet')


def test_suggest():
    assert suggest('num_clases', ['num_classes', 'in_channels']) == "; did you mean 'num_classes'?"
    assert suggest('RETINANET', ['RetinaNet', 'ResNet']) == "; did you mean 'RetinaNet'?"
    assert suggest('zzz', ['num_classes']) == ''
