"""Batches of images of like shape, the same shape on every rank at every step."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler


@DATA_SAMPLERS.register_module()
class BucketBatchSampler(BatchSampler):
    """Batches in which width / height differs little: little padding, and few shapes for `torch.compile`.

    An epoch visits every image once. Images are shuffled, dealt out to buckets by width / height, and cut into
    batches there; what is left over in the buckets makes up the few mixed batches. The batches come in random order.
    All ranks draw the same order from seed and epoch and take their part of each: at every step they work on one
    bucket, and they always have equally many batches. The last, smaller batch is filled to the same size on every rank
    by images seen before, or left out with `drop_last`.

    Args:
        sampler: mmengine's `DefaultSampler`, which gives data set, seed, epoch, rank and whether to shuffle.
        batch_size: images per rank.
        drop_last: leave out the last batch if it is smaller.
        aspect_ratios: limits of the buckets, ascending width / height. By default 2:3, 3:4, 1:1, 4:3 and 3:2 fall into
            buckets of their own.
    """

    def __init__(self, sampler: DefaultSampler, batch_size: int, drop_last: bool = False,
                 aspect_ratios: Sequence[float] = (0.71, 0.87, 1.15, 1.41)):
        if not isinstance(sampler, DefaultSampler):
            raise TypeError(f'sampler must be of type DefaultSampler, got {type(sampler).__name__}')
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f'batch_size must be a positive integer, got {batch_size!r}')
        if list(aspect_ratios) != sorted(set(aspect_ratios)):
            raise ValueError(f'aspect_ratios must be ascending, got {aspect_ratios}')
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self.aspect_ratios = tuple(aspect_ratios)
        self._ratios: np.ndarray | None = None

    def __len__(self) -> int:
        number, together = len(self.sampler.dataset), self.batch_size * self.sampler.world_size
        return number // together if self.drop_last else -(-number // together)

    def __iter__(self) -> Iterator[list[int]]:
        rank, world_size = self.sampler.rank, self.sampler.world_size
        for batch in self._batches_of_all_ranks():
            yield batch[rank::world_size].tolist()

    def _batches_of_all_ranks(self) -> list[np.ndarray]:
        if self._ratios is None:
            heights, widths = image_sizes_hw(self.sampler.dataset).T
            self._ratios = widths / heights
        rng = torch.Generator().manual_seed(self.sampler.seed + self.sampler.epoch)
        together = self.batch_size * self.sampler.world_size
        number = len(self._ratios)
        order = torch.randperm(number, generator=rng).numpy() if self.sampler.shuffle else np.arange(number)
        buckets = np.searchsorted(self.aspect_ratios, self._ratios[order])
        batches, rests = [], []
        for bucket in range(len(self.aspect_ratios) + 1):
            images = order[buckets == bucket]
            whole = len(images) // together * together
            batches += list(images[:whole].reshape(-1, together))
            rests.append(images[whole:])
        rest = np.concatenate(rests)  # neighbours in shape stay neighbours
        batches += list(rest[: len(rest) // together * together].reshape(-1, together))
        last = rest[len(rest) // together * together:]
        if self.sampler.shuffle:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=rng).tolist()]
        if len(last) and not self.drop_last:
            missing = -len(last) % self.sampler.world_size
            batches.append(np.concatenate([last, np.resize(order, missing)]))
        return batches


def image_sizes_hw(dataset) -> np.ndarray:
    """Height and width of every image of a data set of mmengine's kind, (N, 2), from its annotations."""
    if hasattr(dataset, 'image_sizes_hw'):
        return dataset.image_sizes_hw()
    infos = map(dataset.get_data_info, range(len(dataset)))
    return np.array([(info['height'], info['width']) for info in infos]).reshape(-1, 2)
