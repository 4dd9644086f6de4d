"""Cityscapes as cityscapesScripts' `createPanopticImgs` writes it, for mmdet's panoptic segmentors."""

import os.path as osp

from mmdet.datasets import CocoPanopticDataset
from mmdet.datasets.api_wrappers import COCOPanoptic
from mmdet.registry import DATASETS

THINGS = ('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle')
STUFF = ('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign', 'vegetation',
         'terrain', 'sky')
PALETTE = (
    (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180))


class ThingsFirst(COCOPanoptic):
    """Categories in the order that mmdet's panoptic heads number their classes: things, then stuff.

    COCO's own file has that order; the one of Cityscapes begins with stuff.
    """

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()):
        found = super().get_cat_ids(list(cat_names), list(sup_names), list(cat_ids))
        return sorted(found, key=lambda cat_id: not self.cats[cat_id]['isthing'])


@DATASETS.register_module()
class CityscapesPanopticDataset(CocoPanopticDataset):
    """Panoptic segmentation of Cityscapes: 8 things, 11 stuff.

    `ann_file` and `data_prefix.seg` are `cityscapes_panoptic_{split}.json` and the folder of that name, as written by
    `python -m cityscapesscripts.preparation.createPanopticImgs`; `data_prefix.img` holds a folder for each city.
    """

    METAINFO = dict(classes=THINGS + STUFF, thing_classes=THINGS, stuff_classes=STUFF, palette=list(PALETTE))
    COCOAPI = ThingsFirst

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Images are named `ID_gtFine_leftImg8bit.png` there and are `CITY/ID_leftImg8bit.png`; ID begins with CITY."""
        data_info = super().parse_data_info(raw_data_info)
        img_id = data_info['img_id']
        data_info['img_path'] = osp.join(self.data_prefix['img'], img_id.split('_')[0], f'{img_id}_leftImg8bit.png')
        if data_info['seg_map_path'] is not None:
            data_info['seg_map_path'] = osp.join(self.data_prefix['seg'], panoptic_map_of(img_id))
        return data_info


def panoptic_map_of(img_id: str) -> str:
    """The name of the panoptic map that belongs to an image."""
    return f'{img_id}_gtFine_panoptic.png'
