"""A process that keeps the others waiting is named, with what it does."""

import json
import sys
import time
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from mmdet.registry import TRANSFORMS
from mmengine.config import Config

from detrove.cli import main
from detrove.engine.hooks.watchdog import WatchdogHook, seconds_of
from detrove.engine.watchdog import Standing, Watchdog, describe_stall, where_it_stands
from detrove.reliability.ranks import log_of, run_ranks


@TRANSFORMS.register_module(force=True)
class SleepsAtAnImage:
    """On rank 1."""

    def __init__(self, name):
        self.name = name

    def __call__(self, results):
        import torch.distributed

        if results['img_path'].endswith(self.name) and torch.distributed.get_rank() == 1:
            time.sleep(600)
        return results


def train_rank(rank, folder):
    return main(['train', str(next(folder.glob('*.py'))), '--work-dir', str(folder / 'work'), '--launcher', 'pytorch',
                 '--no-preflight'])


@pytest.mark.slow
def test_a_process_that_hangs_is_named(tmp_path):
    """In training, with its images and lines of code; and once more when torch.distributed gives up."""
    from tests.cli.conftest import DETECTION, draw_coco, write_config  # not found by the processes

    coco_folder = draw_coco(tmp_path / 'coco')
    write_config(tmp_path, coco_folder, DETECTION, """
        train_dataloader['batch_size'] = 1
        train_dataloader['sampler'] = dict(type='DefaultSampler', shuffle=False)
        pipeline.insert(1, dict(type='SleepsAtAnImage', name='3.png'))
        watchdog = dict(seconds=4)
        """)
    image = f'images: {coco_folder}/images/3.png'
    statuses = run_ranks(__file__, 'train_rank', 2, tmp_path, timeout_s=200, victim=1, once=image)
    log = log_of(tmp_path, 0)
    assert statuses == [1, -9], log
    assert 'rank 0 waits for rank 1' in log
    assert 'rank 1: before iteration 2 (loads data, saves or evaluates), at reliability/test_watchdog.py:' in log
    assert 'in __call__ < ' in log and image in log
    assert 'rank 0: in iteration 2, waits in ' in log
    assert 'this process ends with RuntimeError after no progress for ' in log


class Store(dict):
    set = dict.__setitem__

    def check(self, keys):
        return keys[0] in self


def wait_for(said, number=1):
    end = time.monotonic() + 30
    while len(said) < number and time.monotonic() < end:
        time.sleep(0.02)
    return said


def test_one_speaks_for_all_and_only_when_nothing_moves():
    store, said = Store({'2': json.dumps(asdict(standing()))}), [[], []]  # rank 2 was heard once
    dogs = [Watchdog(rank=rank, world_size=3, seconds=1.2, store=store, say=said[rank].append) for rank in range(2)]
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for dog in dogs:
            dog.note(4, lambda stalled: ('in iteration 2', ['a.png']))
        time.sleep(0.01)
    assert said == [[], []]
    (text,) = wait_for(said[0])
    time.sleep(0.5)
    for dog in dogs:
        dog.stop()
    assert said == [[text], []]
    assert 'rank 2: in iteration 2, at losses/x.py:3 in f < y.py:4 in g, and no longer answers' in text
    assert dogs[1].last_words and 'rank 2' in dogs[1].last_words  # for an error that follows
    dogs[0].note(5, lambda stalled: ('in iteration 3', []))
    dogs[0]._beat()
    assert not dogs[0].last_words


def standing(order=3, waits_in='', beat=1, images=(), doing='in iteration 2'):
    return Standing(order, doing, 61.0, waits_in, ('losses/x.py:3 in f', 'y.py:4 in g'), images, beat)


def test_texts():
    waiting = standing(waits_in='all_reduce')
    loading = standing(2, images=('a.png', 'b.png'), doing='before iteration 2')
    text = describe_stall({0: waiting, 1: loading, 2: waiting, 3: waiting}, set(), world_size=4)
    assert text.splitlines() == [
        'no progress for 61 s: ranks 0, 2-3 wait for rank 1',
        '  rank 1: before iteration 2, at losses/x.py:3 in f < y.py:4 in g',
        '    images: a.png, b.png',
        '  ranks 0, 2-3: in iteration 2, waits in all_reduce, at losses/x.py:3 in f < y.py:4 in g']
    stopped = describe_stall({0: waiting, 1: loading}, {1, 2}, world_size=3)
    assert 'rank 0 waits for ranks 1-2' in stopped and '<' in stopped and 'and no longer answers' in stopped
    assert '  rank 2: has said nothing yet' in stopped
    # on a GPU a process that waits does not stand in a call of torch.distributed
    assert 'rank 0 waits for rank 1' in describe_stall({0: standing(), 1: loading}, set(), world_size=2)
    crossed = describe_stall({0: waiting, 1: standing(waits_in='barrier')}, set(), world_size=2)
    assert 'all processes wait for each other, in different calls' in crossed and 'waits in barrier' in crossed
    assert 'no process waits for another' in describe_stall({0: standing(), 1: standing()}, set(), world_size=2)


def test_where_it_stands():
    waits_in, place = where_it_stands(sys._getframe())
    assert waits_in == '' and place[0].startswith('reliability/test_watchdog.py:') and len(place) > 1
    assert where_it_stands(None) == ('', ())

    def frame(path, name, back=None):
        return SimpleNamespace(f_code=SimpleNamespace(co_filename=path, co_name=name), f_lineno=1, f_back=back)

    loss = frame('/x/losses/set.py', 'compute')
    wrapper = frame('/s/torch/distributed/c10d_logger.py', 'wrapper', frame('/s/mmengine/dist/dist.py', 'reduce', loss))
    assert where_it_stands(frame('/s/torch/distributed/distributed_c10d.py', 'all_reduce', wrapper)) == (
        'all_reduce', ('distributed/distributed_c10d.py:1 in all_reduce', 'losses/set.py:1 in compute'))
    backward = frame('/s/torch/autograd/graph.py', '_engine_run_backward', loss)
    assert where_it_stands(backward)[0].startswith('backward')
    assert where_it_stands(frame('/x/mine.py', 'backward', backward))[0] == ''  # a function of its own hangs
    assert where_it_stands(frame('/s/torch/nn/parallel/distributed.py', '_pre_forward', loss))[0] == (
        'DistributedDataParallel')


def test_the_time_in_the_config():
    limit = dict(env_cfg=dict(dist_cfg=dict(timeout=60)))
    chosen = dict(watchdog=dict(seconds=7), **limit)
    assert [seconds_of(Config(cfg)) for cfg in ({}, limit, chosen, dict(watchdog=False))] == [300, 30, 7, None]
    for wrong in (True, 30, dict(seconds=0), dict(second=3), dict(seconds='1')):
        with pytest.raises(ValueError, match=r'give dict\(seconds=\.\.\.\)'):
            seconds_of(Config(dict(watchdog=wrong)))


def test_one_process_has_none():
    hook = WatchdogHook()
    hook.before_run(SimpleNamespace(cfg=Config(), logger=None))
    hook._note(None)
    hook.on_exit(None)
    assert hook._dog is None


def test_cost_of_a_step():
    hook = WatchdogHook()
    hook._dog = Watchdog(rank=0, world_size=1, seconds=300, store=Store(), say=print)
    runner = SimpleNamespace(iter=5, train_dataloader=SimpleNamespace(batch_sampler=None))
    costs = []
    for _ in range(5):
        start = time.process_time()
        for index in range(2000):
            hook.before_train_iter(runner, index, {})
            hook.after_train_iter(runner, index, {}, None)
        costs.append((time.process_time() - start) / 2000)
    hook.on_exit(runner)
    print(f'{sorted(costs)[2] * 1e6:.1f} us of CPU time in each step')
    assert sorted(costs)[2] < 1e-4
