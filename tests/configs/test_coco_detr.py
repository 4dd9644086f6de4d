"""The augmentation that DETR, Deformable DETR and their heirs share."""

import cv2
import numpy as np
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope


def test_training_images(request, tmp_path):
    """Sizes are those of the paper, half of the images are cropped, and boxes stay with their objects."""
    config = Config.fromfile(request.config.rootpath / 'configs/_base_/datasets/coco_detr.py')
    init_default_scope('mmdet')
    pipeline = Compose([TRANSFORMS.build(step) for step in config.train_pipeline])
    image = np.zeros((480, 640, 3), np.uint8)
    image[120:360, 160:320] = 255
    path = str(tmp_path / 'image.png')
    cv2.imwrite(path, image)
    np.random.seed(0)
    plain = 0
    for _ in range(20):
        packed = pipeline(dict(img_path=path, img_id=0, height=480, width=640, instances=[
            dict(bbox=[160, 120, 320, 360], bbox_label=3, ignore_flag=0)]))
        height, width = packed['inputs'].shape[1:]
        assert max(height, width) <= 1333
        assert min(height, width) in range(480, 801, 32) or max(height, width) == 1333
        plain += abs(width / height - 4 / 3) < 0.005
        boxes = packed['data_samples'].gt_instances.bboxes.tensor
        if not len(boxes):
            assert packed['inputs'].float().mean() < 16  # at most a sliver of the object is left
            continue
        left, top, right, bottom = (round(x) for x in boxes[0].tolist())
        inside = packed['inputs'][:, top + 4:bottom - 4, left + 4:right - 4]
        assert inside.numel() == 0 or inside.min() > 200
    assert 5 <= plain <= 15
