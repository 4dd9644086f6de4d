"""Log histories that grow in place: the numbers of mmengine's, and what was handed out stays as it was."""

import copy
import pickle

import numpy as np
from mmengine.logging import HistoryBuffer

from detrove.compat import history_buffer


def test_the_numbers_of_np_append():
    assert HistoryBuffer.update is history_buffer.update
    buffer, expected = HistoryBuffer([1], [1]), np.array([1])
    for value in (2, 3.5, *range(600)):
        buffer.update(value)
        expected = np.append(expected, value)
    history, counts = buffer.data
    assert history.dtype == expected.dtype and np.array_equal(history, expected)
    assert counts.dtype == np.int64 and np.array_equal(counts, np.ones(603))
    assert buffer.current() == 599 and buffer.mean(2) == 598.5


def test_arrays_are_made_anew_now_and_then():
    buffer = HistoryBuffer()
    bases = {id(buffer.update(1.0) or buffer.data[0].base) for _ in range(1000)}
    assert len(bases) <= 6
    assert len(pickle.dumps(buffer)) < 17_000  # without the room behind the numbers


def test_copies_and_arrays_handed_out_stay_as_they_are():
    buffer = HistoryBuffer([1.0], [1])
    buffer.update(2.0)
    handed_out, _ = buffer.data
    copies = copy.copy(buffer), copy.deepcopy(buffer), pickle.loads(pickle.dumps(buffer))
    buffer.update(3.0)
    for one in copies:
        one.update(4.0)
        assert one.data[0].tolist() == [1, 2, 4]
    assert handed_out.tolist() == [1, 2] and buffer.data[0].tolist() == [1, 2, 3]
    buffer._log_history = buffer._log_history[:1]
    buffer._count_history = buffer._count_history[:1]
    buffer.update(5.0)
    assert buffer.data[0].tolist() == [1, 5] and handed_out.tolist() == [1, 2]


def test_no_more_than_max_length():
    buffer = HistoryBuffer(max_length=3)
    bases = set()
    for value in range(600):
        buffer.update(value)
        assert buffer.data[0].tolist() == list(range(max(0, value - 2), value + 1))
        bases.add(id(buffer.data[0].base))
    assert len(bases) <= 4 and buffer.data[0].base.nbytes < 3000


def test_a_limit_set_later_frees_what_is_beyond_it():
    buffer = HistoryBuffer(range(10_000), [1] * 10_000)
    buffer.max_length = 5
    buffer.update(10_000)
    history, counts = buffer.data
    assert history.tolist() == [9996, 9997, 9998, 9999, 10_000] and len(counts) == 5
    assert history.base.nbytes < 3000 and history.dtype == np.int64
