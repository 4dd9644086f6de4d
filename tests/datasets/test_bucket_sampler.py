from itertools import chain

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS

from detrove.datasets import BucketBatchSampler

SIZES_HW = [(480, 640), (640, 480), (427, 640), (500, 500), (640, 427)]


class Images:
    def __init__(self, number):
        rng = np.random.default_rng(0)
        self.sizes = [SIZES_HW[i] for i in rng.integers(len(SIZES_HW), size=number)]

    def __len__(self):
        return len(self.sizes)

    def get_data_info(self, index):
        return dict(zip(('height', 'width'), self.sizes[index], strict=True))


def sampler(images, rank=0, world_size=1, epoch=0, shuffle=True, batch_size=4, **options):
    base = DefaultSampler(images, shuffle=shuffle, seed=3)
    base.rank, base.world_size = rank, world_size
    base.set_epoch(epoch)
    return DATA_SAMPLERS.build(dict(type='BucketBatchSampler', sampler=base, batch_size=batch_size, **options))


@pytest.mark.parametrize('number', [1, 3, 7, 64, 101])
@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_every_image_once_and_ranks_in_step(number, world_size):
    images = Images(number)
    ranks = [list(sampler(images, rank, world_size)) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {len(sampler(images, 0, world_size))}
    for together in zip(*ranks, strict=True):
        assert len({len(batch) for batch in together}) == 1
    seen = list(chain.from_iterable(chain.from_iterable(ranks)))
    assert set(seen) == set(range(number)) and len(seen) - number < world_size
    dropped = [list(sampler(images, rank, world_size, drop_last=True)) for rank in range(world_size)]
    assert {len(batches) for batches in dropped} == {number // (4 * world_size)}
    assert {len(batch) for batch in chain.from_iterable(dropped)} <= {4}


def test_batches_hold_one_shape_on_all_ranks():
    images = Images(400)
    ranks = [list(sampler(images, rank, 2)) for rank in range(2)]
    shapes = [{images.sizes[i] for i in chain(*together)} for together in zip(*ranks, strict=True)]
    assert sum(len(one) > 1 for one in shapes) <= 5
    assert len({next(iter(one)) for one in shapes[:15]}) > 2, 'shapes come mixed over the epoch'


def test_seed_and_epoch_decide():
    images = Images(50)
    assert list(sampler(images)) == list(sampler(images))
    assert list(sampler(images)) != list(sampler(images, epoch=1))
    in_order = list(sampler(images, shuffle=False))
    assert all(batch == sorted(batch) for batch in in_order[:8])


def test_wrong_settings_are_refused():
    with pytest.raises(TypeError, match='DefaultSampler'):
        BucketBatchSampler(range(3), 2)
    with pytest.raises(ValueError, match='positive'):
        sampler(Images(3), batch_size=0)
    with pytest.raises(ValueError, match='ascending'):
        sampler(Images(3), aspect_ratios=(1, 0.5))
