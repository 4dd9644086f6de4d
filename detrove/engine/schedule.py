"""Learning-rate schedules whose points in time are fractions of the training."""

from collections.abc import Mapping

# arguments of mmengine's parameter schedulers that name a point in time or a length
_TIMES = ('begin', 'end', 'T_max', 'milestones', 'total_steps')


def resolve_fractions(scheduler, max_epochs: int, max_iters: int):
    """Replace fractions by epochs, or by iterations where `by_epoch=False`.

    A float is a fraction of the training, an int is taken as it is::

        param_scheduler = [
            dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
            dict(type='MultiStepLR', milestones=[0.92], gamma=0.1),     # the last 8 %, however long training is
        ]

    Args:
        scheduler: config of one scheduler, or a list or dict of them; returned unchanged if it is anything else.
        max_epochs, max_iters: length of the training.

    Raises:
        ValueError: if a float lies outside [0, 1].
    """
    if isinstance(scheduler, Mapping) and 'type' in scheduler:
        length = max_epochs if scheduler.get('by_epoch', True) else max_iters
        times = {key: _resolve(key, scheduler[key], length) for key in _TIMES if key in scheduler}
        return {**scheduler, **times}
    if isinstance(scheduler, Mapping):
        return {name: resolve_fractions(inner, max_epochs, max_iters) for name, inner in scheduler.items()}
    if isinstance(scheduler, list | tuple):
        return [resolve_fractions(inner, max_epochs, max_iters) for inner in scheduler]
    return scheduler


def _resolve(key: str, value, length: int):
    if isinstance(value, list | tuple):
        return [_resolve(key, inner, length) for inner in value]
    if not isinstance(value, float):
        return value
    if not 0 <= value <= 1:
        raise ValueError(f'param_scheduler: {key}={value} is a float, which means a fraction of the training, in '
                         f'[0, 1]. Write an int for a number of epochs or iterations.')
    return round(value * length)
