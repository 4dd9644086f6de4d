"""Generated data of COCO's size: annotation files, predictions and photographs, for measurements and tests."""

from pathlib import Path

import cv2
import numpy as np
from mmdet.datasets import CocoDataset

from detrove.datasets.json_bytes import to_json

CLASSES = CocoDataset.METAINFO['classes']
#: (height, width) of photographs, most of them on their side as in COCO
SIZES_HW = ((480, 640), (480, 640), (480, 640), (427, 640), (640, 480), (640, 427))


def make_annotations(num_images: int, num_boxes: int, *, polygons: bool = True, seed: int = 0) -> dict:
    """A COCO file's content: boxes of all sizes spread over the images, one object in a hundred a crowd.

    Args:
        num_images, num_boxes: of the file.
        polygons: give every object an outline of 16 points.
        seed: of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    sizes_hw = np.array(SIZES_HW)[rng.integers(len(SIZES_HW), size=num_images)]
    images = [dict(id=3 * index + 9, file_name=f'{3 * index + 9:012d}.jpg', height=height, width=width)
              for index, (height, width) in enumerate(sizes_hw.tolist())]
    owners = np.sort(rng.integers(num_images, size=num_boxes))
    limits_wh = sizes_hw[owners, ::-1]
    boxes_wh = np.exp(rng.uniform(np.log(8), np.log(limits_wh - 2)))
    boxes_xy = rng.uniform(size=(num_boxes, 2)) * (limits_wh - boxes_wh)
    boxes_xywh = np.concatenate([boxes_xy, boxes_wh], axis=1).round(2)
    angles = np.arange(16) * (np.pi / 8)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 2 + 0.5
    columns = zip(boxes_xywh.tolist(), owners.tolist(), rng.integers(len(CLASSES), size=num_boxes).tolist(),
                  (rng.random(num_boxes) < 0.01).tolist(), strict=True)
    annotations = [
        dict(id=index + 1, image_id=3 * owner + 9, category_id=label + 1, bbox=box, area=box[2] * box[3] * 0.6,
             iscrowd=int(crowd))
        for index, (box, owner, label, crowd) in enumerate(columns)]
    if polygons:
        for annotation, xy, wh in zip(annotations, boxes_xywh[:, :2], boxes_xywh[:, 2:], strict=True):
            annotation['segmentation'] = [(circle * wh + xy).round(2).ravel().tolist()]
    categories = [dict(id=index + 1, name=name) for index, name in enumerate(CLASSES)]
    return dict(images=images, annotations=annotations, categories=categories)


def make_predictions(content: dict, per_image: int, *, seed: int = 0) -> list[dict]:
    """What a fair detector would say to `content`: shaken true boxes among others, labels as the classes come.

    Returns:
        Per image `img_id` and `pred_instances` with `bboxes` (n, 4) xyxy, `scores` (n,) and `labels` (n,) as tensors.
    """
    import torch

    rng = np.random.default_rng(seed)
    truth = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        truth[annotation['image_id']].append((*annotation['bbox'], annotation['category_id'] - 1))
    predictions = []
    for image in content['images']:
        true = np.array(truth[image['id']], float).reshape(-1, 5)[:per_image]
        found = true[rng.integers(len(true), size=per_image)] if len(true) else np.full((per_image, 5), 20.0)
        near = rng.random(per_image) < 0.4
        spread = np.where(near, 0.08, 0.6)[:, None]
        boxes_xywh = found[:, :4] + found[:, [2, 3, 2, 3]] * rng.normal(size=(per_image, 4)) * spread
        boxes_xywh[:, 2:] = np.maximum(boxes_xywh[:, 2:], 1)
        labels = np.where(near, found[:, 4], rng.integers(len(CLASSES), size=per_image)).astype(int)
        scores = np.clip(rng.random(per_image) * 0.6 + 0.4 * near * rng.random(per_image), 0, 1)
        boxes_xyxy = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)
        instances = dict(bboxes=torch.tensor(boxes_xyxy, dtype=torch.float32), labels=torch.tensor(labels),
                         scores=torch.tensor(scores, dtype=torch.float32))
        predictions.append(dict(img_id=image['id'], pred_instances=instances))
    return predictions


def make_photographs(folder: Path, sizes_hw=SIZES_HW, *, seed: int = 0) -> list[Path]:
    """JPEGs of about the bytes per pixel that photographs have: smooth shades with noise of several scales."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for index, (height, width) in enumerate(sizes_hw):
        image = np.zeros((height, width, 3), np.float32)
        for cell, strength in ((64, 90), (16, 45), (4, 18), (1, 4)):
            noise = rng.normal(size=(height // cell + 2, width // cell + 2, 3)).astype(np.float32)
            image += strength * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        paths.append(folder / f'photograph{index}.jpg')
        cv2.imwrite(str(paths[-1]), np.clip(image + 118, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return paths


def write_coco_folder(root: Path, num_images: int, num_boxes: int, *, polygons: bool = True) -> None:
    """A data set of that size: `root`/train.json, and `root`/images, where every name points to one of a few files."""
    content = make_annotations(num_images, num_boxes, polygons=polygons)
    (root / 'train.json').write_bytes(to_json(content))
    files = dict(zip(SIZES_HW, make_photographs(root / 'photographs'), strict=True))
    (root / 'images').mkdir()
    for image in content['images']:
        (root / 'images' / image['file_name']).symlink_to(files[image['height'], image['width']])
