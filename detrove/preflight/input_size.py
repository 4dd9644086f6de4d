"""The largest image that a training pipeline gives, by its settings."""

from collections.abc import Mapping, Sequence

from mmengine.config import Config

from detrove.datasets.check.source import unwrapped

Size = tuple[int, int]


def largest_input_hw(cfg: Config) -> Size | None:
    """Height and width, the longer side as width where images keep their shape; None if no transform sets a size."""
    preprocessor = cfg.model.get('data_preprocessor') or {}
    fixed = _as_wh(preprocessor.get('size'))
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    size = None
    for _, inner in unwrapped(dataset, ''):
        found = _after(inner.get('pipeline') or (), None)
        size = found if size is None else _larger(size, found)
    size = _after(dataset.get('pipeline') or (), size) if 'dataset' in dataset else size  # of a wrapper, e.g. mosaic
    for augment in preprocessor.get('batch_augments') or ():
        sizes = augment.get('sizes') or augment.get('random_size_range') or augment.get('size') or ()
        for one in [sizes] if isinstance(sizes, int) else sizes:
            size = _larger(size, _as_wh(one))
    size = fixed[::-1] if fixed else size
    if size is None:
        return None
    divisor = preprocessor.get('pad_size_divisor') or 1
    width, height = (-(-side // divisor) * divisor for side in size)
    return height, width


def _after(pipeline: Sequence[Mapping], size: Size | None) -> Size | None:
    """Width and height after the transforms of a pipeline."""
    for transform in pipeline:
        kind = str(transform.get('type')).rpartition('.')[2]
        if kind == 'RandomChoice':
            branches = [_after(branch if isinstance(branch, Sequence) else [branch], size)
                        for branch in transform['transforms']]
            size = max(filter(None, branches), key=_area, default=size)
        elif kind == 'RandomCrop' and transform.get('crop_type', 'absolute').startswith('absolute'):
            crop = _as_wh(transform.get('crop_size'))
            crop = crop and crop[::-1]  # height first
            size = crop if size is None or crop is None else (min(size[0], crop[0]), min(size[1], crop[1]))
        elif 'Resize' in kind or 'Mosaic' in kind or kind in ('Pad', 'Resize'):
            scales = transform.get('scales') or transform.get('scale') or transform.get('img_scale') or \
                transform.get('size')
            several = isinstance(scales, Sequence) and scales and isinstance(scales[0], Sequence)
            sizes = [_as_wh(one) for one in (scales if several else [scales])]
            largest = max(filter(None, sizes), key=_area, default=None)
            if largest and transform.get('keep_ratio'):  # the numbers bound the longer and the shorter side
                largest = max(largest), min(largest)
            factor = max(transform.get('ratio_range') or (1,))
            size = size if largest is None else (round(largest[0] * factor), round(largest[1] * factor))
    return size


def _as_wh(value) -> Size | None:
    if isinstance(value, int):
        return value, value
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(one, int) for one in value):
        return value[0], value[1]
    return None


def _larger(one: Size | None, other: Size | None) -> Size | None:
    return max(filter(None, (one, other)), key=_area, default=None)


def _area(size: Size) -> int:
    return size[0] * size[1]
