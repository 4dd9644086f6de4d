"""Adds a number to mmengine's ``HistoryBuffer`` without copying all the numbers before it.

mmengine keeps every logged number of a training, and makes a new array for each one that is added: steps become slower
with every step.
"""

from weakref import WeakKeyDictionary

_rooms: WeakKeyDictionary = WeakKeyDictionary()  # buffer -> {attribute: (array with room, places taken, history)}


def after_import(module) -> None:
    """Called with ``mmengine.logging.history_buffer`` when it was loaded."""
    module.HistoryBuffer.update = update


def update(self, log_val: int | float, count: int = 1) -> None:
    """Take a number in; the oldest is forgotten where there are more than ``max_length``.

    Raises:
        TypeError: ``log_val`` or ``count`` is no number.
    """
    for name, value in (('log_val', log_val), ('count', count)):
        if not isinstance(value, int | float):
            raise TypeError(f'{name} of a log history must be int or float, got {type(value).__name__}')
    _append(self, '_log_history', log_val)
    _append(self, '_count_history', count)


def _append(buffer, name: str, value: int | float) -> None:
    """As ``np.append`` does; arrays that were handed out before stay as they are."""
    import numpy as np

    history, value = getattr(buffer, name), np.asarray(value)
    kept, dtype = history[max(0, len(history) + 1 - buffer.max_length):], np.result_type(history, value)
    rooms = _rooms.setdefault(buffer, {})
    room, taken, ours = rooms.get(name, (None, 0, None))
    # another array than the last one here may have been put into the buffer since
    if history is not ours or taken == len(room) or room.dtype != dtype:
        room, taken = np.empty(len(kept) + len(kept) // 4 + 256, dtype), len(kept)
        room[:taken] = kept
    room[taken] = value
    history = room[taken - len(kept) : taken + 1]
    rooms[name] = room, taken + 1, history
    setattr(buffer, name, history)
