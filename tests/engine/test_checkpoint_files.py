"""Checkpoint files: whole or not there, and recognised when they are damaged."""

import errno
import os
import random

import pytest
import torch

from detrove.engine.checkpoint_files import choose_checkpoint, damage, remove_unfinished, whole_or_nothing


@pytest.fixture
def checkpoint(tmp_path):
    def write(name, age=0):
        path = tmp_path / name
        torch.save({'state_dict': {'weight': torch.rand(400)}}, path)
        os.utime(path, (1_000_000_000 - age,) * 2)
        return path

    return write


def test_whole(checkpoint):
    assert damage(checkpoint('iter_1.pth')) is None


@pytest.mark.parametrize('seed', range(10))
def test_cut_or_changed_anywhere(checkpoint, seed):
    path, rng = checkpoint('iter_1.pth'), random.Random(seed)
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])
    assert damage(path)
    start = content.index(b'data/0') + 200  # of the tensor: padding between entries may hold anything
    changed = bytearray(content)
    changed[rng.randrange(start, start + 1000)] ^= 1 << rng.randrange(8)
    path.write_bytes(changed)
    assert damage(path)
    path.write_bytes(rng.randbytes(rng.randrange(3000)))
    assert damage(path)


def test_the_newest_whole_one_is_chosen(checkpoint, tmp_path):
    assert choose_checkpoint(tmp_path) == (None, [])
    last, before, _ = checkpoint('iter_9.pth'), checkpoint('epoch_2.pth', age=5), checkpoint('iter_3.pth', age=9)
    checkpoint('best_bbox_mAP_iter_9.pth')
    pointer = tmp_path / 'last_checkpoint'
    for named in (str(last), '', '/moved/away/iter_9.pth'):
        pointer.write_text(named)
        assert choose_checkpoint(tmp_path) == (last, [])
    last.write_bytes(last.read_bytes()[:-1])
    path, (problem,) = choose_checkpoint(tmp_path)
    assert path == before and str(last) in problem and 'cut' in problem


def test_all_damaged_is_an_error(checkpoint, tmp_path):
    checkpoint('iter_3.pth').write_bytes(b'')
    with pytest.raises(ValueError, match='no checkpoint is whole:(?s:.*)iter_3.pth'):
        choose_checkpoint(tmp_path)


def test_a_full_disk_leaves_what_was_there(checkpoint, tmp_path):
    path, last = checkpoint('iter_4.pth'), checkpoint('iter_2.pth', age=3)
    content = path.read_bytes()
    with pytest.raises(OSError, match=f'iter_4.pth was not written: the disk is full .*whole: {path}') as caught, \
            whole_or_nothing(path) as unfinished:
        unfinished.write_bytes(content[:100])
        raise OSError(errno.ENOSPC, 'No space left on device')
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == content
    assert set(tmp_path.iterdir()) == {path, last}


def test_what_a_killed_process_was_writing_is_removed(checkpoint, tmp_path):
    path = checkpoint('iter_4.pth')
    with pytest.raises(KeyboardInterrupt), whole_or_nothing(path) as unfinished:
        unfinished.write_bytes(b'half')
        raise KeyboardInterrupt
    assert unfinished.exists()
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
