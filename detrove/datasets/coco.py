"""COCO-format data sets in which class names decide."""

import gc
import logging
import os
import os.path as osp
from collections import defaultdict
from contextlib import contextmanager
from itertools import chain

import numpy as np
from mmdet.datasets import BaseDetDataset, CocoDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path
from mmengine.logging import print_log

from .annotation_cache import Records, cached_records
from .categories import category_ids_of
from .coco_file import LAYOUT_HINT, CocoFile, read_coco_file
from .image_file import UnreadableImage
from .json_bytes import from_json, to_json
from .mask_check import check_masks


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

    What was read from a large file is kept in ``.detrove_cache`` beside it, in the user's cache folder where that
    cannot be written, and read anew when the file, the options above or detrove's version change.

    Args:
        annotation_cache: where it is kept instead; False to keep nothing.

    Attributes:
        cat_ids (list[int]): category id in the file of each label.

    Raises (when the annotations are loaded):
        FileNotFoundError: the annotation file, the image folder or images are missing.
        ValueError: the file is not COCO json, lacks a class, has no images, or, in training, no objects.
    """

    METAINFO: dict = {}

    def __init__(self, *args, annotation_cache: bool | str = True, **kwargs):
        self.annotation_cache = annotation_cache
        self._records: Records | None = None
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        if self._fully_initialized:
            return
        if not self.serialize_data or self.proposal_file is not None or _changes_entries(type(self)):
            super().full_init()
            return
        if self.annotation_cache and self.backend_args is None:
            folder = self.annotation_cache if isinstance(self.annotation_cache, str) else None
            self._records = cached_records(self.ann_file, self._cache_options(), self._build_records, folder=folder)
        else:
            self._records = Records.pack(*self._build_records())
        if not hasattr(self, 'cat_ids'):  # not built here
            self._adopt(self._records.header['facts'])
        self.data_bytes, self.data_address = self._records.text, self._records.ends
        self._fully_initialized = True

    def get_data_info(self, idx: int) -> dict:
        if not self._fully_initialized:
            self.full_init()
        data_info = super().get_data_info(idx) if self._records is None else self._decode_record(idx)
        if self.return_classes:
            data_info.update(text=self._metainfo['classes'], caption_prompt=self.caption_prompt, custom_entities=True)
        return data_info

    def _decode_record(self, idx: int) -> dict:
        number = len(self.data_address)
        if not -number <= idx < number:
            raise IndexError(f'index {idx}, but {self.ann_file} has {number} images')
        idx %= number
        start = self.data_address[idx - 1] if idx else 0
        text = self.data_bytes[start : self.data_address[idx]].data
        if self.data_address is self._records.ends:  # not so after `get_subset_` and its like
            self._records.check(idx, text)
        try:
            data_info = from_json(text)
        except (ValueError, RecursionError) as error:  # in an outline: the rest was parsed before
            raise ValueError(f'{self.ann_file}: a segmentation of image {idx} is not JSON: {error}') from error
        return data_info | dict(sample_idx=idx)

    def prepare_data(self, idx: int) -> dict | None:
        data_info = self.get_data_info(idx)
        if self._wants_masks:
            check_masks(data_info, source=self.ann_file)
        try:
            return self.pipeline(data_info)
        except UnreadableImage as error:
            raise UnreadableImage(f'{error} It is listed in {self.ann_file}.') from error

    @property
    def _wants_masks(self) -> bool:
        return any(getattr(transform, 'with_mask', False) for transform in self.pipeline.transforms)

    def image_sizes_hw(self) -> np.ndarray:
        """Height and width of every image as the file has them, (N, 2) int64."""
        if not self._fully_initialized:
            self.full_init()
        # `get_subset_` and its like change the entries: then those of the whole do not count.
        if self._records is not None and self.data_address is self._records.ends:
            return np.array(self._records.header['sizes_hw'], np.int64)
        infos = map(self.get_data_info, range(len(self)))
        return np.array([(info['height'], info['width']) for info in infos], np.int64).reshape(-1, 2)

    def __getstate__(self) -> dict:
        """Processes that are not forked map a cache file again instead of being sent its content."""
        mapped = self._records is not None and self.__dict__.get('data_bytes') is self._records.text
        return self.__dict__ | (dict(data_bytes=None) if mapped else {})

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self.__dict__.get('data_bytes', ()) is None:
            self.data_bytes = self._records.text

    def load_data_list(self) -> list[dict]:
        """All entries, as mmengine asks for them. A subclass may change them, and is then not cached."""
        data_list = self._load()[1]
        for data_info in data_list:
            for instance in data_info['instances']:
                if 'mask' in instance:
                    instance['mask'] = from_json(to_json(instance['mask']))
        return data_list

    def _build_records(self) -> tuple[dict, list[bytes]]:
        with _without_garbage_collection():
            facts, self.data_list = self._load()
            self.data_list = self.filter_data()
            if self._indices is not None:
                self.data_list = self._get_unserialized_subset(self._indices)
            texts = [to_json(data_info) for data_info in self.data_list]
            sizes_hw = [(data_info['height'], data_info['width']) for data_info in self.data_list]
            self.data_list = []
        return dict(facts=facts, sizes_hw=sizes_hw), texts

    def _cache_options(self) -> dict:
        kind = type(self)
        return dict(
            dataset=f'{kind.__module__}.{kind.__qualname__}', classes=self._metainfo.get('classes'),
            data_prefix=self.data_prefix, seg_map_suffix=self.seg_map_suffix, test_mode=self.test_mode,
            filter_cfg=self.filter_cfg, indices=self._indices)

    def _load(self) -> tuple[dict, list[dict]]:
        """What is true of the file as a whole, fit for JSON, and its images. Masks may be JSON still."""
        content = self._read()
        cat_ids = self._match_classes(content)
        objects, left_out = self._instances(content, {cat_id: label for label, cat_id in enumerate(cat_ids)})
        data_list = [self._data_info(image, objects.get(image['id'], [])) for image in content.images]
        names = defaultdict(list)
        for data_info in data_list:
            folder, name = osp.split(data_info['img_path'])
            names[folder].append(name)
        masks = ['mask' in instance for data_info in data_list for instance in data_info['instances']]
        facts = dict(cat_ids=cat_ids, classes=self._metainfo['classes'], left_out=left_out, files=dict(names),
                     objects=len(masks), without_mask=len(masks) - sum(masks))
        self._adopt(facts)
        return facts, data_list

    def _adopt(self, facts: dict) -> None:
        """Take over, check and report what is true of the file as a whole."""
        self.cat_ids = facts['cat_ids']
        self._metainfo.setdefault('classes', tuple(facts['classes']))
        if list(facts['classes']) == list(CocoDataset.METAINFO['classes']):
            self._metainfo.setdefault('palette', CocoDataset.METAINFO['palette'])
        if facts['left_out']:
            print_log(f'{self.ann_file}: left out {facts["left_out"]}', 'current', logging.WARNING)
        self._check_images(facts['files'])
        self._check_objects(facts)

    def _read(self) -> CocoFile:
        if self.backend_args is None and not osp.isfile(self.ann_file):
            raise FileNotFoundError(
                f'No annotation file {osp.abspath(self.ann_file)} (ann_file of '
                f'{type(self).__name__}, data_root={self.data_root!r}). {LAYOUT_HINT}')
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            return read_coco_file(path, source=self.ann_file, needs_annotations=not self.test_mode)

    def _match_classes(self, content: CocoFile) -> list[int]:
        """The category id of each label. Sets the classes if none were given."""
        classes = self._metainfo.get('classes')
        if classes is None:
            in_file = [category['name'] for category in content.categories]
            classes = self._metainfo['classes'] = tuple(dict.fromkeys(in_file))
        if isinstance(classes, str):
            raise ValueError(f'classes must be a tuple of names, got the string {classes!r}: write ({classes!r},)')
        if len(set(classes)) != len(classes):
            raise ValueError(f'classes names a class twice: {classes}')
        used = set(content.category_ids)
        cat_ids = category_ids_of(
            dict(categories=content.categories, annotations=[dict(category_id=i) for i in used]), classes,
            source=self.ann_file)
        unlisted = used - {category['id'] for category in content.categories}
        if unlisted:
            raise ValueError(
                f'{self.ann_file}: annotations use category ids that "categories" does not list: '
                f'{sorted(unlisted, key=str)[:5]}')
        return cat_ids

    def _instances(self, content: CocoFile, label_of: dict[int, int]) -> tuple[dict, str]:
        """The objects of each image id; how many boxes were left out, for the log."""
        place_of = {image['id']: place for place, image in enumerate(content.images)}
        unknown = set(content.image_ids) - place_of.keys()
        if unknown:
            raise ValueError(
                f'{self.ann_file}: annotations refer to {len(unknown)} image ids that "images" does not '
                f'list, for example {sorted(unknown, key=str)[:3]}.')
        if not content.image_ids:
            return {}, ''
        number = len(content.image_ids)
        sizes_wh = np.array([(image['width'], image['height']) for image in content.images])
        limits_wh = sizes_wh[np.fromiter(map(place_of.__getitem__, content.image_ids), np.int64, number)]
        boxes_xywh = np.fromiter(chain.from_iterable(content.boxes_xywh), np.float64, 4 * number).reshape(-1, 4)
        with np.errstate(over='ignore', invalid='ignore'):
            corners = np.maximum(boxes_xywh[:, :2], 0), np.minimum(boxes_xywh[:, :2] + boxes_xywh[:, 2:], limits_wh)
        finite = np.isfinite(boxes_xywh).all(1)
        large = (corners[1] - corners[0] >= 1).all(1) & finite
        labels = list(map(label_of.get, content.category_ids))
        listed = np.fromiter((label is not None for label in labels), bool, number)
        objects = defaultdict(list)
        for image_id, label, box_xyxy, is_used, ignored, mask in zip(
                content.image_ids, labels, np.hstack(corners).tolist(), (listed & large).tolist(), content.ignored,
                content.segmentations, strict=True):
            if not is_used:
                continue
            instance = {'bbox': box_xyxy, 'bbox_label': label, 'ignore_flag': 1 if ignored else 0}
            if mask is not None:
                instance['mask'] = mask
            objects[image_id].append(instance)
        left_out = (listed & ~large).nonzero()[0].tolist()
        return objects, _describe_left_out(left_out, content, finite)

    def _data_info(self, image: dict, instances: list[dict]) -> dict:
        seg_folder = self.data_prefix.get('seg')
        seg_map = osp.splitext(image['file_name'])[0] + self.seg_map_suffix if seg_folder else None
        return dict(
            img_path=osp.join(self.data_prefix.get('img', ''), image['file_name']),
            img_id=image['id'],
            seg_map_path=osp.join(seg_folder, seg_map) if seg_folder else None,
            height=image['height'],
            width=image['width'],
            instances=instances,
        )

    def _check_images(self, files: dict[str, list[str]]) -> None:
        """One listing per folder rather than one look per file: quick on network file systems too."""
        if self.backend_args is not None:
            return
        missing = []
        for folder, names in files.items():
            if not osp.isdir(folder or '.'):
                raise FileNotFoundError(
                    f'No image folder {osp.abspath(folder)}: {self.ann_file} lists {len(set(names))} '
                    f'images in it (data_prefix={self.data_prefix}). {LAYOUT_HINT}')
            missing += [osp.join(folder, name) for name in set(names).difference(os.listdir(folder or '.'))]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of the {sum(map(len, files.values()))} images that {self.ann_file} lists are not '
                f'there, for example {sorted(missing)[:3]} (data_prefix={self.data_prefix}). {LAYOUT_HINT}')

    def _check_objects(self, facts: dict) -> None:
        if self.test_mode:
            return
        if not facts['objects']:
            raise ValueError(
                f'{self.ann_file} has no object of the classes {list(self._metainfo["classes"])} to train '
                f'on in its {sum(map(len, facts["files"].values()))} images.')
        if self._wants_masks and facts['without_mask']:
            raise ValueError(
                f'{self.ann_file}: the pipeline loads masks, but {facts["without_mask"]} of {facts["objects"]} objects '
                f'have no "segmentation". Use a detection config, or annotate masks.')

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


def _describe_left_out(places: list[int], content: CocoFile, finite: np.ndarray, shown: int = 3) -> str:
    """How many boxes, why, and the first of them; nothing where there are none."""
    if not places:
        return ''
    not_finite = int((~finite[places]).sum())
    images = len({content.image_ids[place] for place in places})
    kind = f'thinner than one pixel inside their image{f", {not_finite} of them not finite" if not_finite else ""}'
    examples = '; '.join(f'{list(content.boxes_xywh[place])} of image id {content.image_ids[place]}'
                         for place in places[:shown])
    return f'{len(places)} boxes {kind}, in {images} images: {examples}{"; ..." if len(places) > shown else ""}'


def _changes_entries(kind: type) -> bool:
    """Whether a subclass has a hand in what is loaded, so that neither the form nor the options of it are known."""
    return any(getattr(kind, name) is not getattr(CocoDetection, name)
               for name in ('load_data_list', 'filter_data', '_load', '_data_info', 'parse_data_info'))


@contextmanager
def _without_garbage_collection():
    """Millions of new objects, none of them in a cycle: looking for cycles would take longer than making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
