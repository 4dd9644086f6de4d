"""Order and augmentation of samples: the same for every number of workers, and from the middle of an epoch."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, Dataset

from detrove.datasets.bucket_sampler import BucketBatchSampler  # noqa: F401  (registers it)
from detrove.engine.data_order import Draw, SeededBatchSampler, fetch, seed_samples
from detrove.engine.random_state import put_random_state, seeded_host, take_random_state


class Noise(Dataset):
    """Every sample is its index and a number from each of the three generators."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        assert type(index) is int
        return [index, random.random(), np.random.rand(), torch.rand(()).item()]

    def image_sizes_hw(self):
        return np.array([(10, 10), (10, 30)] * 4)[:7]


def batches(*, workers=0, sampler=DefaultSampler, skip=0, epoch=0, seed=3, inner=None):
    dataset = Noise()
    order = SeededBatchSampler(sampler(dataset, shuffle=True, seed=seed), 2, batches=inner)
    order.sampler.set_epoch(epoch)
    order.skip(skip)
    seed_samples(dataset)
    loader = DataLoader(dataset, batch_sampler=order, num_workers=workers, collate_fn=list,
                        generator=torch.Generator())
    iterator = iter(loader)
    read = [next(iterator) for _ in range(4 - skip)]
    if workers:
        iterator._shutdown_workers()
    return read


def test_workers_do_not_matter():
    assert batches() == batches(workers=2)


@pytest.mark.parametrize('sampler', [DefaultSampler, InfiniteSampler])
@pytest.mark.parametrize('inner', [None, dict(type='BucketBatchSampler')])
def test_from_the_middle(sampler, inner):
    if inner and sampler is InfiniteSampler:
        pytest.skip('buckets need epochs')
    assert batches(sampler=sampler, skip=3, inner=inner) == batches(sampler=sampler, inner=inner)[3:]


def test_each_epoch_and_each_seed_has_its_own():
    first = batches()
    assert first != batches(epoch=1) and first != batches(seed=4)
    assert len({sample[1] for batch in first for sample in batch}) == 7


def test_the_training_process_draws_on():
    state = take_random_state()
    expected = random.random(), np.random.rand(), torch.rand(3).tolist()
    put_random_state(state)
    batches()
    with seeded_host([1, 2]):
        torch.rand(5)
    assert (random.random(), np.random.rand(), torch.rand(3).tolist()) == expected


def test_batches_are_known_until_they_are_trained_on():
    dataset = Noise()
    order = SeededBatchSampler(DefaultSampler(dataset, shuffle=False, seed=0), 2)
    iterator = iter(order)
    read = [next(iterator), next(iterator)]
    assert list(order.drawn) == read
    assert fetch(dataset, read[1]) == fetch(dataset, order.drawn[1])


def test_a_draw_travels():
    draw = pickle.loads(pickle.dumps(Draw(5, (1, 2))))
    assert draw == 5 and draw.entropy == (1, 2)
