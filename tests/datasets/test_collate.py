"""A batch that crosses between processes in one piece is the batch that `pseudo_collate` makes."""

import pickle

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader, Dataset

from detrove.datasets import one_piece_collate
from detrove.datasets.collate import _Parcel


class Samples(Dataset):
    """Images with 0, 1, 2 objects in turn, what detectors' pipelines put out."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        objects = index % 3
        sample = DetDataSample(metainfo=dict(img_id=index, scale_factor=np.array([0.5, 2.0])))
        sample.gt_instances = InstanceData(
            bboxes=torch.rand(objects, 4, generator=generator),
            labels=torch.arange(objects),
            masks=BitmapMasks(np.ones((objects, 6, 8), np.uint8), 6, 8),
        )
        # a transposed view, and a number type that numpy has not
        inputs = torch.randint(0, 256, (8, 6, 3), dtype=torch.uint8, generator=generator).permute(2, 1, 0)
        return dict(inputs=inputs, half=torch.rand(3, generator=generator).bfloat16(), data_samples=sample)


def check_equal(batch, expected):
    assert batch.keys() == expected.keys()
    for name in ('inputs', 'half'):
        torch.testing.assert_close(batch[name], expected[name], rtol=0, atol=0)
    for sample, want in zip(batch['data_samples'], expected['data_samples'], strict=True):
        assert sample.img_id == want.img_id
        np.testing.assert_array_equal(sample.scale_factor, want.scale_factor)
        torch.testing.assert_close(sample.gt_instances.bboxes, want.gt_instances.bboxes, rtol=0, atol=0)
        torch.testing.assert_close(sample.gt_instances.labels, want.gt_instances.labels, rtol=0, atol=0)
        np.testing.assert_array_equal(sample.gt_instances.masks.masks, want.gt_instances.masks.masks)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_same_batches_as_pseudo_collate(num_workers):
    data = Samples()
    batches = list(DataLoader(data, batch_size=2, num_workers=num_workers, collate_fn=one_piece_collate))
    expected = [pseudo_collate([data[index] for index in rows]) for rows in ([0, 1], [2, 3], [4])]
    for batch, want in zip(batches, expected, strict=True):
        check_equal(batch, want)
    batches[0]['inputs'][0].fill_(7)  # what arrives belongs to the training process
    batches[0]['data_samples'][1].gt_instances.bboxes.mul_(2)


def test_tensors_stay_out_of_the_stream():
    image = torch.zeros(3, 200, 200, dtype=torch.uint8)
    function, (stream, memory, spans) = _Parcel(dict(inputs=[image])).__reduce__()
    assert len(stream) < 1000 and memory.is_shared()
    assert [end - start for start, end in spans] == [image.numel()]
    torch.testing.assert_close(function(stream, memory, spans)['inputs'][0], image)


def test_a_batch_without_tensors():
    assert pickle.loads(pickle.dumps(_Parcel({'names': ['a', 'b']}))) == {'names': ['a', 'b']}
