"""The picture at the end of training: what is drawn as ground truth, and that any palette will do."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from detrove.engine.hooks import SummaryHook
from detrove.engine.hooks.summary import _true_instances


class Dataset:
    """Two images; the annotations of the second in its own pixels."""

    def __init__(self, folder, instances):
        self.infos = [dict(img_path=str(folder / f'{index}.png'), height=60, width=80) for index in range(2)]
        self.infos[1]['instances'] = instances
        for info in self.infos:
            cv2.imwrite(info['img_path'], np.full((60, 80, 3), 90, dtype=np.uint8))

    def __len__(self):
        return 2

    def get_data_info(self, index):
        return self.infos[index]


BOX = dict(bbox=[10, 10, 50, 40], bbox_label=1, ignore_flag=0)


def test_true_boxes_are_those_of_the_file(tmp_path):
    crowd = dict(bbox=[0, 0, 9, 9], bbox_label=0, ignore_flag=1)
    dataset = Dataset(tmp_path, [BOX, crowd])
    truth = _true_instances(dataset, str(tmp_path / '1.png'))
    np.testing.assert_array_equal(truth.bboxes, [[10, 10, 50, 40]])
    np.testing.assert_array_equal(truth.labels, [1])
    assert 'masks' not in truth
    assert _true_instances(dataset, str(tmp_path / '0.png')) is None
    assert _true_instances(dataset, 'elsewhere.png') is None


def test_true_masks_where_all_are_polygons(tmp_path):
    polygon = dict(BOX, mask=[[10, 10, 50, 10, 50, 40]])
    truth = _true_instances(Dataset(tmp_path, [polygon]), str(tmp_path / '1.png'))
    assert truth.masks.to_ndarray().shape == (1, 60, 80)


@pytest.mark.parametrize('palette', [None, ((255, 0, 0), (0, 255, 0)), [[255, 0, 0], [0, 255, 0]]])
def test_picture(tmp_path, palette):
    dataset = Dataset(tmp_path, [BOX])
    sample = DetDataSample(metainfo=dict(img_path=str(tmp_path / '1.png')))
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[1.0, 1, 5, 4]]), labels=torch.tensor([1]))  # scaled
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[20.0, 20, 60, 50], [0, 0, 5, 5]]),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.1]),
    )
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=('a', 'b'), palette=palette)
    runner = SimpleNamespace(
        visualizer=visualizer,
        val_dataloader=SimpleNamespace(dataset=dataset),
        work_dir=str(tmp_path),
        timestamp='now',
    )
    hook = SummaryHook(num_images=2)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=[sample, sample, sample])
    assert len(hook.samples) == 2
    picture = cv2.imread(str(hook._draw(runner)))
    header, row = 32, 1000 * 60 // 160
    assert picture.shape == (header + 2 * row, 1000, 3)
    changed = np.abs(picture[header:].astype(int) - 90).max(axis=-1) > 60
    scale = 500 / 80
    truth, prediction = changed[:row, :500], changed[:row, 500:]
    assert truth[int(40 * scale) - 4 : int(40 * scale) + 4, int(30 * scale)].any()
    assert prediction[int(50 * scale) - 4 : int(50 * scale) + 4, int(40 * scale)].any()
    assert not prediction[: int(8 * scale), : int(8 * scale)].any()  # below the score threshold


def test_images_without_objects_are_passed_over():
    hook = SummaryHook()
    empty = DetDataSample()
    empty.gt_instances = InstanceData(bboxes=torch.zeros(0, 4))
    hook.after_val_iter(None, 0, outputs=[empty])
    assert hook.samples == []
