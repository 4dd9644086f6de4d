import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData

from detrove.layers.batch_augments import BatchRandomChoiceResize

RTDETR_SIZES = (480, 512, 544, 576, 608, 640, 640, 640, 672, 704, 736, 768, 800)


def sample(size_hw, boxes, wrap=torch.Tensor):
    height, width = size_hw
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    data_sample = DetDataSample(
        metainfo=dict(
            img_shape=(height, width),
            pad_shape=(height, width),
            batch_input_shape=(height, width),
            scale_factor=(2.0, 4.0),
        )
    )
    data_sample.gt_instances = InstanceData(
        bboxes=wrap(boxes), masks=BitmapMasks(masks, height, width), labels=torch.arange(len(boxes))
    )
    data_sample.ignored_instances = InstanceData(bboxes=wrap(boxes[:0]))
    data_sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(masks.max(0, initial=0))[None])
    return data_sample


@pytest.mark.parametrize('wrap', [lambda boxes: boxes, HorizontalBoxes])
def test_everything_is_scaled_together(wrap):
    augment = MODELS.build(dict(type='mmdet.BatchRandomChoiceResize', sizes=[(32, 128)]))
    inputs = torch.rand(2, 3, 64, 64)
    samples = [sample((64, 64), [(8, 16, 24, 48), (0, 0, 64, 64)], wrap), sample((64, 64), [], wrap)]
    resized, out = augment(inputs, samples)
    torch.testing.assert_close(resized, F.interpolate(inputs, (32, 128)))  # nearest, as the official code
    first, empty = out
    boxes = first.gt_instances.bboxes
    assert (boxes if isinstance(boxes, torch.Tensor) else boxes.tensor).tolist() == [
        [16, 8, 48, 24],
        [0, 0, 128, 32],
    ]
    assert type(boxes) is type(wrap(torch.zeros(0, 4)))
    for data_sample in out:
        assert data_sample.img_shape == data_sample.pad_shape == data_sample.batch_input_shape == (32, 128)
        assert data_sample.scale_factor == (4.0, 2.0)
        masks = data_sample.gt_instances.masks
        assert (masks.height, masks.width) == (32, 128) == data_sample.gt_sem_seg.shape
    assert first.gt_instances.masks.get_bboxes('hbox').tensor.tolist() == [[16, 8, 48, 24], [0, 0, 128, 32]]
    assert first.gt_sem_seg.sem_seg.dtype == torch.uint8
    assert len(empty.gt_instances.bboxes) == 0


def test_sizes_are_drawn_as_often_as_they_are_listed():
    np.random.seed(0)
    augment = BatchRandomChoiceResize(sizes=tuple(size // 32 for size in RTDETR_SIZES))
    drawn = [augment(torch.zeros(1, 1, 20, 20), [])[0].shape[-1] for _ in range(2600)]
    counts = {size: drawn.count(size // 32) for size in RTDETR_SIZES}
    assert sum(counts.values()) == 2600
    assert all(abs(count - 200 * RTDETR_SIZES.count(size)) < 75 for size, count in counts.items())


def test_padding_of_smaller_images_is_scaled_too():
    data_sample = sample((60, 40), [(0, 0, 40, 60)])
    data_sample.set_metainfo(dict(pad_shape=(64, 64), batch_input_shape=(64, 64)))
    BatchRandomChoiceResize(sizes=(32,))(torch.zeros(1, 3, 64, 64), [data_sample])
    assert data_sample.img_shape == (30, 20) and data_sample.pad_shape == (32, 32)
    assert data_sample.gt_instances.bboxes.tolist() == [[0, 0, 20, 30]]
    assert (data_sample.gt_instances.masks.height, data_sample.gt_instances.masks.width) == (30, 20)


@pytest.mark.parametrize('mode', ['nearest', 'bilinear', 'bicubic'])
def test_modes(mode):
    resized, _ = BatchRandomChoiceResize(sizes=(7,), mode=mode)(torch.ones(1, 3, 5, 5), [])
    torch.testing.assert_close(resized, torch.ones(1, 3, 7, 7))


@pytest.mark.parametrize('sizes', [(), (0,), ((1, 2, 3),)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match='sizes'):
        BatchRandomChoiceResize(sizes=sizes)


def test_in_the_data_preprocessor_of_mmdet():
    preprocessor = MODELS.build(
        dict(
            type='mmdet.DetDataPreprocessor',
            mean=[0, 0, 0],
            std=[255, 255, 255],
            bgr_to_rgb=True,
            pad_size_divisor=32,
            batch_augments=[dict(type='mmdet.BatchRandomChoiceResize', sizes=[96])],
        )
    )
    data = dict(
        inputs=[torch.full((3, 50, 64), 255, dtype=torch.uint8)],
        data_samples=[sample((50, 64), [(0, 0, 64, 50)], HorizontalBoxes)],
    )
    out = preprocessor(data, training=True)
    assert out['inputs'].shape == (1, 3, 96, 96) and out['inputs'].max() == 1
    assert out['data_samples'][0].batch_input_shape == (96, 96) and out['data_samples'][0].img_shape == (
        75,
        96,
    )
