"""Label maps: there for every image, of its size, with values that are classes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from mmseg.datasets import BaseSegDataset
from PIL import Image

from .files import Folders, check_exist
from .finding import Finding, error, examples_of, note, warning
from .images import Probe, follows_exif, in_threads
from .source import DataSource, Track

_ENOUGH_MAPS = 3  # in which all other classes occur, before the absence of one is taken for a mistake
_INDEX_MODES = {'1', 'L', 'P', 'I', 'I;16', 'I;16B', 'I;16L'}


@dataclass(frozen=True)
class LabelMap:
    """A label map as stored: size (width, height), mode of Pillow, how often each value occurs, why it cannot be read.

    Attributes:
        image_size_wh: Of the image that it belongs to, as stored and as loaded.
    """

    size_wh: tuple[int, int] = (0, 0)
    mode: str = ''
    counts: Mapping[int, int] = field(default_factory=dict)
    image_size_wh: tuple[tuple[int, int], ...] = ()
    problem: str = ''


@dataclass(frozen=True)
class Labels:
    """What values of a map mean for a data set.

    Attributes:
        classes: Names, in the order of the values.
        reduce_zero: Whether 0 is no class and 1 is the first one.
        ignored: Value, after that, of pixels without class.
        reduce_key: Key of the config with `reduce_zero_label`.
        cv2: Whether maps are read by OpenCV, which turns a palette's indices into colours.
    """

    classes: tuple[str, ...]
    reduce_zero: bool
    ignored: int
    reduce_key: str
    cv2: bool


def read_labels(source: DataSource) -> Labels:
    """Where and how a data set says what values mean: mmseg in the data set, mmdet in the pipeline."""
    dataset, loader = source.dataset, source.transform('LoadAnnotations')
    # With metainfo.classes a subset, values are still numbers of the type's own classes.
    classes = dataset.METAINFO['classes'] if dataset.label_map else source.classes
    of_mmseg = isinstance(dataset, BaseSegDataset)
    in_dataset = of_mmseg and loader.get('reduce_zero_label') is None
    reduce_zero = dataset.reduce_zero_label if in_dataset else loader.get('reduce_zero_label', False)
    return Labels(
        tuple(classes or ()), bool(reduce_zero), dataset.ignore_index if of_mmseg else loader.get('ignore_index', 255),
        f'{source.path}.reduce_zero_label' if of_mmseg else f'{source.path}.pipeline: LoadAnnotations.'
        'reduce_zero_label', loader.get('imdecode_backend', 'pillow' if of_mmseg else 'cv2') == 'cv2')


def list_pairs(source: DataSource) -> list[tuple[str, str | None]]:
    """Image and map files, as the data set lists them."""
    return [(entry['img_path'], entry.get('seg_map_path')) for entry in source.dataset.load_data_list()]


def check_listing(source: DataSource, pairs: Sequence, folders: Folders) -> Iterator[Finding]:
    """Images found, and a map for each."""
    key, dataset = f'{source.path}.data_prefix', source.dataset
    folder = dataset.data_prefix.get('img_path') or ''
    if not pairs:
        suffixes = sorted({os.path.splitext(name)[1] for name in folders.listing(folder)} - {''})
        there = f'its files end in {", ".join(suffixes)}' if suffixes else 'it has no files'
        yield error('segmentation.no-images', f'{key}.img_path', f'no images ending in {dataset.img_suffix} in '
                    f'{folder}: {there}', file=folder, fix=f'set {source.path}.img_suffix, or data_prefix.img_path')
        return
    yield from check_exist([image for image, _ in pairs], folders, kind='images.missing', what='images',
                           where=f'{key}.img_path', data_root=dataset.data_root,
                           fix=f'correct {source.path}.ann_file, data_prefix.img_path or img_suffix')
    maps = [label_map for _, label_map in pairs if label_map]
    if maps:
        yield from check_exist(maps, folders, kind='segmentation.no-map', what='label maps',
                               where=f'{key}.seg_map_path', data_root=dataset.data_root,
                               fix=f'names are those of the images, ending in {source.path}.seg_map_suffix='
                                   f'{dataset.seg_map_suffix!r}')
    else:
        make = error if source.trains or source.evaluators else note
        yield make('segmentation.no-maps', f'{key}.seg_map_path', 'no folder of label maps is named',
                   fix=f'set {key}.seg_map_path')


def read_map(pair: tuple[str, str]) -> LabelMap:
    """Values of a map, and its image's size."""
    image_path, map_path = pair
    try:
        with Image.open(map_path) as label_map:
            mode, size_wh = label_map.mode, label_map.size
            values = np.asarray(label_map)
    except Exception as problem:  # decoders raise many kinds
        return LabelMap(problem=str(problem) or type(problem).__name__)
    counts = {}
    if values.ndim == 2:
        values = values.astype(np.int64).ravel()
        histogram = np.bincount(values) if values.size and values.min() >= 0 else np.zeros(0, np.int64)
        counts = {int(value): int(histogram[value]) for value in np.flatnonzero(histogram)}
    try:
        with Image.open(image_path) as image:
            found = Probe(image.size, image.getexif().get(274, 1))
    except Exception:  # reported with the images
        found = None
    sizes = () if found is None else (found.size_wh, found.loaded_size_wh(follows_exif=True))
    return LabelMap(size_wh, mode, counts, sizes)


def check_maps(source: DataSource, pairs: Sequence, *, workers: int, track: Track) -> Iterator[Finding]:
    """Reads maps.

    Args:
        source: The data set.
        pairs: Files of images and maps, both existing.
        workers: Threads.
        track: Shows how far it is.
    """
    if not pairs:
        return
    maps = list(in_threads(read_map, pairs, workers=workers, track=track, title=f'label maps of {source.path}'))
    labels, named = read_labels(source), list(zip([path for _, path in pairs], maps, strict=True))
    where = f'{source.path}.data_prefix.seg_map_path'
    yield from _check_format(named, labels, where)
    yield from _check_sizes(named, follows_exif(source), where)
    indexed = [(path, one) for path, one in named if one.counts and one.mode in _INDEX_MODES]
    if indexed and labels.classes:
        yield from check_values(indexed, labels, where)


def _check_format(named: Sequence, labels: Labels, where: str) -> Iterator[Finding]:
    broken = [f'{path}: {one.problem}' for path, one in named if one.problem]
    if broken:
        yield error('segmentation.unreadable', where, 'label maps cannot be read to their end', len(broken),
                    examples_of(broken), fix='copy or write them again')
    colored = [f'{path}: {one.mode}' for path, one in named if not one.problem and one.mode not in _INDEX_MODES]
    if colored:
        yield error('segmentation.colours', where, 'label maps hold colours, not one number for each pixel',
                    len(colored), examples_of(colored),
                    fix='write PNG with one channel of class numbers, e.g. Image.fromarray(labels.astype("uint8"))')
    palette = [path for path, one in named if one.mode == 'P']
    if palette and labels.cv2:
        yield error('segmentation.palette', where, 'label maps have a palette, and OpenCV reads its colours instead of '
                    'the numbers', len(palette), examples_of(palette),
                    fix="set imdecode_backend='pillow' in LoadAnnotations")
    elif palette:
        yield note('segmentation.palette', where, 'label maps have a palette; they are read as numbers of its colours, '
                   'which is right if these are the classes', len(palette), examples_of(palette))


def _check_sizes(named: Sequence, turns: bool, where: str) -> Iterator[Finding]:
    turned, other = [], []
    for path, one in named:
        if one.problem or not one.image_size_wh:
            continue
        stored, loaded = one.image_size_wh[0], one.image_size_wh[1 if turns else 0]
        text = f'{path}: {one.size_wh[0]} x {one.size_wh[1]}, image {loaded[0]} x {loaded[1]}'
        if one.size_wh != loaded:
            (turned if one.size_wh == stored and stored != loaded else other).append(text)
    for kind, problems, message, fix in (
        ('segmentation.other-size', other, 'label maps have another size than their image',
         'write maps of the size of the images, resized by nearest neighbour'),
        ('segmentation.exif-rotated', turned, 'label maps fit their image as stored, but it is turned by its EXIF tag '
         'when loaded', "turn the files, or LoadImageFromFile(color_type='color_ignore_orientation')"),
    ):
        if problems:
            yield error(kind, where, message, len(problems), examples_of(problems), fix=fix)


def check_values(named: Sequence[tuple[str, LabelMap]], labels: Labels, where: str) -> Iterator[Finding]:
    """Values of maps against the classes, and whether `reduce_zero_label` says what they mean.

    Args:
        named: Path and content of each map.
        labels: What values mean.
        where: Key of the config with the maps.
    """
    number = len(labels.classes)
    first = 1 if labels.reduce_zero else 0
    ignored = {labels.ignored, 255} if labels.reduce_zero is False else {0, labels.ignored, 255}
    maps_with: dict[int, int] = {}
    for _, one in named:
        for value in one.counts:
            maps_with[value] = maps_with.get(value, 0) + 1
    used = set(maps_with) - {255}
    mistake = _zero_label_mistake(used, 255 in maps_with, maps_with, labels)
    if mistake:
        yield mistake
    outside = {value for value in maps_with if not first <= value < first + number} - ignored
    if outside and not (mistake and outside == {number}):
        wrong = [f'{path}: {sorted(set(one.counts) & outside)[:5]}' for path, one in named
                 if outside & set(one.counts)]
        yield error('segmentation.values', where, f'label maps hold values that are no class: {_ranges(outside)}; '
                    f'{number} classes have the values {first} to {first + number - 1}'
                    f'{", 0 and 255 are ignored" if labels.reduce_zero else ", 255 is ignored"}', len(wrong),
                    examples_of(wrong), fix='write other values as 255, or add their classes to metainfo.classes')
    blank = [path for path, one in named if not set(one.counts) - ignored]
    if blank:
        everything = len(blank) == len(named)
        yield (error if everything else note)(
            'segmentation.blank', where, 'label maps have no pixel of a class', len(blank), examples_of(blank),
            fix=f'look at {labels.reduce_key}' if everything else '')
    absent = [labels.classes[value - first] for value in range(first, first + number) if value not in maps_with]
    if absent and not mistake and len(blank) < len(named):
        yield note('segmentation.absent-classes', where, f'classes occur in none of the {len(named)} maps looked at',
                   len(absent), examples_of(absent))


def _zero_label_mistake(used: set, has_255: bool, maps_with: Mapping, labels: Labels) -> Finding | None:
    number, key = len(labels.classes), labels.reduce_key
    if not labels.reduce_zero:
        if number in used and max(used) == number:
            return error('segmentation.reduce-zero-label', key, f'label maps hold the values {min(used)} to {number}, '
                         f'and {number} classes have 0 to {number - 1}: 0 seems to be no class',
                         maps_with[number], fix='reduce_zero_label=True')
        return None
    if 0 not in used or not used <= set(range(number)) or not used - {0}:
        return None
    message = (f'label maps hold the values 0 to {max(used)} and never {number}, the last class with '
               f'reduce_zero_label=True: 0 seems to be a class, and is ignored')
    others = min(maps_with.get(value, 0) for value in range(1, number)) if number > 1 else 0
    certain = has_255 or others >= _ENOUGH_MAPS
    doubt = '' if certain else f' (or {labels.classes[-1]!r} occurs in none of these maps)'
    return (error if certain else warning)('segmentation.reduce-zero-label', key, message + doubt, maps_with[0],
                                           fix='reduce_zero_label=False')


def _ranges(values: set[int]) -> str:
    """`151 to 153, 200` for a set of numbers."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    shown = [f'{first}' if first == last else f'{first} to {last}' for first, last in runs[:8]]
    return ', '.join(shown) + (', ...' if len(runs) > 8 else '')
