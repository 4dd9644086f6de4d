"""COCO-format data sets in which class names decide."""

import json
import logging
import os
import os.path as osp
from collections import Counter, defaultdict

from mmdet.datasets import BaseDetDataset, CocoDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path
from mmengine.logging import print_log

from .categories import category_ids_of

LAYOUT_HINT = (
    'Expected layout: <data_root>/<ann_file> and <data_root>/<data_prefix["img"]>/<file_name>; see '
    'data/README.md for each data set. tools/convert_dataset.py turns VOC and YOLO folders into it.'
)
FIELDS = dict(
    images={'id', 'file_name', 'width', 'height'},
    annotations={'image_id', 'category_id', 'bbox'},
    categories={'id', 'name'},
)


@DATASETS.register_module()
class CocoDetection(BaseDetDataset):
    """Any detection or instance segmentation data set in COCO's json format.

    Label i is the i-th name of ``metainfo['classes']``, whatever the ids and their order in the file (mmdet's
    ``CocoDataset`` numbers labels in the file's order). Without ``classes``, the file's categories in the
    file's order are the classes. Categories of the file that are not among the classes are left out.

    Boxes are clipped to their image; what is then thinner than one pixel is left out and counted in the log.
    ``iscrowd`` and ``ignore`` objects get ``ignore_flag=1``. Images without objects stay in unless
    ``filter_cfg=dict(filter_empty_gt=True)``; ``filter_cfg=dict(min_size=...)`` drops smaller images
    (training only).

    Attributes:
        cat_ids (list[int]): category id in the file of each label.

    Raises (when the annotations are loaded):
        FileNotFoundError: the annotation file, the image folder or images are missing.
        ValueError: the file is not COCO json, lacks a class, has no images, or, in training, no objects.
    """

    METAINFO: dict = {}

    def load_data_list(self) -> list[dict]:
        content = self._read()
        self.cat_ids, label_of = self._match_classes(content)
        annotations = defaultdict(list)
        for annotation in content.get('annotations', []):
            annotations[annotation['image_id']].append(annotation)
        unknown = annotations.keys() - {image['id'] for image in content['images']}
        if unknown:
            raise ValueError(
                f'{self.ann_file}: annotations refer to {len(unknown)} image ids that "images" does not '
                f'list, for example {sorted(unknown, key=str)[:3]}.'
            )
        degenerate = Counter()
        data_list = [
            self._parse(image, annotations[image['id']], label_of, degenerate) for image in content['images']
        ]
        if degenerate:
            print_log(
                f'{self.ann_file}: left out {degenerate.total()} boxes thinner than one pixel '
                f'in {len(degenerate)} images.',
                'current',
                logging.WARNING,
            )
        self._check_images(data_list)
        self._check_objects(data_list)
        return data_list

    def _read(self) -> dict:
        if self.backend_args is None and not osp.isfile(self.ann_file):
            raise FileNotFoundError(
                f'No annotation file {osp.abspath(self.ann_file)} (ann_file of '
                f'{type(self).__name__}, data_root={self.data_root!r}). {LAYOUT_HINT}'
            )
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path, open(path, 'rb') as file:
            try:
                content = json.load(file)
            except ValueError as error:
                raise ValueError(f'{self.ann_file} is not COCO json: {error}. {LAYOUT_HINT}') from error
        needed = ('images', 'categories') if self.test_mode else ('images', 'annotations', 'categories')
        missing = [
            key for key in needed if not isinstance(content, dict) or not isinstance(content.get(key), list)
        ]
        if missing:
            found = (
                f'the keys {list(content)[:8]}'
                if isinstance(content, dict)
                else f'a {type(content).__name__}'
            )
            raise ValueError(
                f'{self.ann_file} is not COCO json: it holds {found}, but lacks the lists {missing}. '
                f'{LAYOUT_HINT}'
            )
        if not content['images']:
            raise ValueError(f'{self.ann_file} lists no images.')
        for key, fields in FIELDS.items():
            for entry in content.get(key, []):
                if not fields <= entry.keys():
                    raise ValueError(
                        f'{self.ann_file}: an entry of "{key}" lacks {sorted(fields - entry.keys())}: '
                        f'{str(entry)[:200]}'
                    )
        return content

    def _match_classes(self, content: dict) -> tuple[list[int], dict[int, int]]:
        """The category id of each label, and the label of each id. Sets the classes if none were given."""
        in_file = [category['name'] for category in content['categories']]
        classes = self._metainfo.get('classes')
        if classes is None:
            classes = self._metainfo['classes'] = tuple(dict.fromkeys(in_file))
        if isinstance(classes, str):
            raise ValueError(
                f'classes must be a tuple of names, got the string {classes!r}: write ({classes!r},)'
            )
        if len(set(classes)) != len(classes):
            raise ValueError(f'classes names a class twice: {classes}')
        cat_ids = category_ids_of(content, classes, source=self.ann_file)
        if list(classes) == list(CocoDataset.METAINFO['classes']):
            self._metainfo.setdefault('palette', CocoDataset.METAINFO['palette'])

        used = {annotation['category_id'] for annotation in content.get('annotations', [])}
        unlisted = used - {category['id'] for category in content['categories']}
        if unlisted:
            raise ValueError(
                f'{self.ann_file}: annotations use category ids that "categories" does not list: '
                f'{sorted(unlisted, key=str)[:5]}'
            )
        return cat_ids, {cat_id: label for label, cat_id in enumerate(cat_ids)}

    def _parse(
        self, image: dict, annotations: list[dict], label_of: dict[int, int], degenerate: Counter
    ) -> dict:
        width, height = image['width'], image['height']
        instances = []
        for annotation in annotations:
            label = label_of.get(annotation['category_id'])
            if label is None:
                continue
            x, y, w, h = annotation['bbox']
            x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
            if not (x2 - x1 >= 1 and y2 - y1 >= 1):
                degenerate[image['id']] += 1
                continue
            instance = dict(
                bbox=[x1, y1, x2, y2],
                bbox_label=label,
                ignore_flag=int(bool(annotation.get('iscrowd') or annotation.get('ignore'))),
            )
            if annotation.get('segmentation'):
                instance['mask'] = annotation['segmentation']
            instances.append(instance)

        seg_folder = self.data_prefix.get('seg')
        stem = osp.splitext(image['file_name'])[0]
        data_info = dict(
            img_path=osp.join(self.data_prefix.get('img', ''), image['file_name']),
            img_id=image['id'],
            seg_map_path=osp.join(seg_folder, stem + self.seg_map_suffix) if seg_folder else None,
            height=height,
            width=width,
            instances=instances,
        )
        if self.return_classes:
            data_info.update(
                text=self._metainfo['classes'], caption_prompt=self.caption_prompt, custom_entities=True
            )
        return data_info

    def _check_images(self, data_list: list[dict]) -> None:
        """One listing per folder rather than one look per file: quick on network file systems too."""
        if self.backend_args is not None:
            return
        names = defaultdict(set)
        for data_info in data_list:
            folder, name = osp.split(data_info['img_path'])
            names[folder].add(name)
        missing = []
        for folder, wanted in names.items():
            if not osp.isdir(folder or '.'):
                raise FileNotFoundError(
                    f'No image folder {osp.abspath(folder)}: {self.ann_file} lists {len(wanted)} '
                    f'images in it (data_prefix={self.data_prefix}). {LAYOUT_HINT}'
                )
            missing += [osp.join(folder, name) for name in wanted.difference(os.listdir(folder or '.'))]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of the {len(data_list)} images that {self.ann_file} lists are not '
                f'there, for example {sorted(missing)[:3]} (data_prefix={self.data_prefix}). '
                f'{LAYOUT_HINT}'
            )

    def _check_objects(self, data_list: list[dict]) -> None:
        if self.test_mode:
            return
        instances = [instance for data_info in data_list for instance in data_info['instances']]
        if not instances:
            raise ValueError(
                f'{self.ann_file} has no object of the classes {list(self._metainfo["classes"])} to train '
                f'on in its {len(data_list)} images.'
            )
        wants_masks = any(getattr(transform, 'with_mask', False) for transform in self.pipeline.transforms)
        without = sum('mask' not in instance for instance in instances)
        if wants_masks and without:
            raise ValueError(
                f'{self.ann_file}: the pipeline loads masks, but {without} of {len(instances)} objects have '
                f'no "segmentation". Use a detection config, or annotate masks.'
            )

    def filter_data(self) -> list[dict]:
        if self.test_mode or not self.filter_cfg:
            return self.data_list
        unknown = self.filter_cfg.keys() - {'filter_empty_gt', 'min_size'}
        if unknown:
            raise ValueError(f'filter_cfg knows filter_empty_gt and min_size, got {sorted(unknown)}')
        kept = [
            data_info
            for data_info in self.data_list
            if min(data_info['height'], data_info['width']) >= self.filter_cfg.get('min_size', 0)
            and not (
                self.filter_cfg.get('filter_empty_gt', False)
                and all(instance['ignore_flag'] for instance in data_info['instances'])
            )
        ]
        if not kept:
            raise ValueError(
                f'filter_cfg={dict(self.filter_cfg)} leaves none of the {len(self.data_list)} images of '
                f'{self.ann_file}'
            )
        return kept
