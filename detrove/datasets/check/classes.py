"""Class names of the data against those of the config, and their number against the heads."""

import difflib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from mmdet.datasets import CocoDataset, Objects365V1Dataset

from detrove.engine.config_file import walk_typed

from .coco import is_lvis
from .coco_table import CocoTable
from .finding import Finding, error, examples_of, note, warning
from .source import DataSource

# parts of a model with classes of their own
_OTHER_CLASSES = {'rpn_head', 'semantic_head', 'detector', 'reid', 'STDCHead'}
_SHOWN = 12


def classification_heads(model: Mapping) -> Iterator[tuple[str, Mapping]]:
    """Keys and settings of the parts of a model whose `num_classes` is that of the data set."""
    for path, head in walk_typed(model, 'model'):
        keys = path.split('.')
        is_head = keys[-1] == 'model' or any(key.endswith('head') for key in keys)
        if is_head and not {*keys, head['type']} & _OTHER_CLASSES and isinstance(head.get('num_classes'), int):
            yield path, head


def check_heads(source: DataSource, model: Mapping, classes: Sequence[str]) -> Iterator[Finding]:
    """The number of classes of each head against that of the data; things and stuff have heads of their own."""
    if 'language_model' in model:  # its classes are words of a prompt
        return
    parts = {key: source.dataset.metainfo.get(f'{key}_classes', classes) for key in ('thing', 'stuff')}
    sizes = {len(classes), *map(len, parts.values())}
    wrong = [(f'{path}.num_classes', head['num_classes'], classes) for path, head in classification_heads(model)
             if head['num_classes'] not in sizes]
    if source.kind == 'panoptic':
        wrong += [(f'{path}.{key}', head[key], parts[name]) for path, head in walk_typed(model, 'model')
                  for key, name in (('num_things_classes', 'thing'), ('num_stuff_classes', 'stuff'))
                  if isinstance(head.get(key), int) and head[key] != len(parts[name])]
    for key, number, names in wrong:
        yield error('classes.head', key, f'{key} is {number}, but {source.path} has {len(names)} classes: '
                    f'{_listed(names)}', fix=f'{key}={len(names)}, or other metainfo.classes in the data set')


def check_names(source: DataSource, table: CocoTable, classes: Sequence[str]) -> Iterator[Finding]:
    """Names of the config against the categories of the file, and classes without objects."""
    where, names = f'{source.path}.metainfo.classes', table.category_names
    if len(set(classes)) < len(classes):
        twice = sorted({name for name in classes if classes.count(name) > 1})
        yield error('classes.twice', where, f'{len(twice)} names stand in classes twice', len(twice),
                    examples_of(twice), fix='name each class once')
    if is_lvis(source):  # labels follow the ids in the file, names are not looked at
        if len(names) != len(classes):
            yield error('classes.absent', where, f'{table.file} has {len(names)} categories, '
                        f'{type(source.dataset).__name__} has {len(classes)}', file=str(table.file),
                        fix='use the annotation file of that version of LVIS')
        return
    absent = [name for name in classes if name not in names]
    if absent:
        yield error('classes.absent', where, f'classes of the config ({len(classes)}: {_listed(classes)}) are not '
                    f'among the categories of {table.file} ({len(names)}: {_listed(names)})', len(absent),
                    examples_of(f'{name}{_near(name, names)}' for name in absent), str(table.file),
                    f'set {where} to names of the file, and num_classes of the head to their number')
        return
    yield from _check_order(source, table, classes, where)
    left_out = [name for name in dict.fromkeys(names) if name not in classes]
    if left_out:
        yield note('classes.left-out', where, 'categories of the file are not among the classes; their objects are '
                   'left out', len(left_out), examples_of(left_out), str(table.file))
    yield from _check_used(source, table, classes, where)


def _check_order(source: DataSource, table: CocoTable, classes: Sequence[str], where: str) -> Iterator[Finding]:
    if not isinstance(source.dataset, CocoDataset):
        return
    order = range(len(table.category_ids))
    if 'Objects365V1' in type(source.dataset).__name__ and isinstance(source.dataset, Objects365V1Dataset):
        order = sorted(order, key=lambda place: table.category_ids[place])
    in_file = [table.category_names[place] for place in order if table.category_names[place] in classes]
    if in_file != list(classes):
        pairs = [f'{given} is read as {taken}' for given, taken in zip(in_file, classes, strict=False)
                 if given != taken]
        yield error('classes.order', where, f'{type(source.dataset).__name__} numbers its labels in the order of the '
                    'file, so that objects get the names of other classes', max(len(pairs), 1), examples_of(pairs),
                    str(table.file), f"{source.path}.type='CocoDetection', for which the order is free")


def _check_used(source: DataSource, table: CocoTable, classes: Sequence[str], where: str) -> Iterator[Finding]:
    places = table.annotations.categories
    counts = np.bincount(places[places >= 0], minlength=len(table.category_ids))
    counts_of = {}
    for name, category_id, count in zip(table.category_names, table.category_ids, counts, strict=True):
        counts_of.setdefault(name, []).append((category_id, int(count)))
    several = {name: [one for one, count in counts_of[name] if count] for name in classes}
    several = {name: ids for name, ids in several.items() if len(ids) > 1}
    if several:
        yield error('classes.several-categories', where, 'several categories with objects have the same name',
                    len(several), examples_of(f'{name}: ids {ids}' for name, ids in several.items()), str(table.file),
                    'merge or rename these categories in the file')
    unused = [name for name in classes if not any(count for _, count in counts_of[name])]
    if unused and counts.any():
        make, what = (warning, 'cannot be learned') if source.trains else (note, 'are not evaluated')
        yield make('classes.without-objects', where, f'classes have no object in {table.file}; they {what}',
                   len(unused), examples_of(unused), str(table.file))


def _near(name: str, names: Sequence[str]) -> str:
    same = [other for other in names if other.strip().lower() == name.strip().lower()]
    nearest = same or difflib.get_close_matches(name, names, n=1)
    return f' (the file has {nearest[0]!r})' if nearest else ''


def _listed(names: Sequence[str]) -> str:
    names = list(names)
    return ', '.join(names[:_SHOWN]) + (', ...' if len(names) > _SHOWN else '')
