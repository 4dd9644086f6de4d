"""Fine-tuning on other classes: rows of classification layers go where the names of their classes are."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .class_rows import COCO_CATEGORY_IDS
from .conversion import find_converter, reads_official_layouts

_MAX_PER_CLASS = 64  # anchors of a place, or numbers of a box
_SHOWN = 12


@dataclass(frozen=True)
class ClassAxis:
    """Where classes lie in an entry: dimension `dim` has `per_class` numbers for each, then `rest` for no class."""

    dim: int
    per_class: int
    rest: int


@dataclass(frozen=True)
class ClassRows:
    """What became of the classes of a checkpoint.

    Attributes:
        kept: Classes that both know; their rows were copied.
        new: Classes that only the model has; their rows stay as initialised.
        left_out: Classes that only the checkpoint has.
        entries: Names of the entries whose rows went by class.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]
    entries: tuple[str, ...]

    def __str__(self) -> str:
        number = len(self.kept) + len(self.new)
        lines = [f'rows of {len(self.entries)} classification layers go by the names of the classes: '
                 f'{_listed(self.entries)}',
                 f'  kept from the checkpoint ({len(self.kept)} of {number}): {_listed(self.kept)}',
                 f'  new, left as initialised ({len(self.new)} of {number}): {_listed(self.new)}',
                 f'  only in the checkpoint, left out ({len(self.left_out)}): {_listed(self.left_out)}']
        return '\n'.join(line for line in lines if not line.endswith(': '))


def match_classes(
    model: nn.Module, checkpoint: Mapping, classes: Sequence[str] | None, settings: Mapping | None = None
) -> tuple[dict[str, Tensor], ClassRows | None]:
    """The weights of a checkpoint with the rows of its classes where the model has these classes.

    The names come from the checkpoint; an official one of a known layout with COCO's number of rows has COCO's.
    Entries depend on the classes if their size changes with the number of classes; where the numbers are equal, or
    several numbers would belong to a class, this is seen in the model built with one class more. A row or column
    behind those of the classes (background, no object) is kept.

    Args:
        model: With fresh weights, which the rows of new classes keep.
        checkpoint: As from `read_checkpoint`.
        classes: Names of the model's classes; None if not known.
        settings: Config of the model; without it nothing is done where the numbers of classes are equal.

    Returns:
        The weights, and what became of the classes; None where nothing was to be done: the classes are the same, or
        names are not known.
    """
    weights = checkpoint['state_dict']
    converter = find_converter(weights) if reads_official_layouts(model) else None
    trained = classes_of(checkpoint)
    converted = dict(weights)
    if converter is not None:
        converter.convert(converted, model)
        trained = trained or _coco_names(converted)
    if not trained or not classes or [name for name in trained if name] == list(classes):
        return weights, None
    ours = model.state_dict()
    axes = _axes_by_size(converted, ours, len(trained), len(classes))
    equal = len(trained) == len(classes)
    if settings is not None and (equal or any(axis.per_class > 1 for axis in axes.values())):
        probed = _axes_by_probe(settings, ours, len(classes))
        axes = probed if equal else {name: axis for name, axis in axes.items() if name in probed}
    places = {name: place for place, name in enumerate(trained) if name}
    pairs = [(place, places[name]) for place, name in enumerate(classes) if name in places]
    moved = {}
    for name, axis in axes.items():
        if name in converted and _fits(converted[name], ours[name], axis, len(trained)):
            interleaved = _is_convolution(model, name)
            moved[name] = _move(converted[name], ours[name], axis, pairs, len(trained), len(classes), interleaved)
    if not moved:
        return weights, None
    return {**converted, **moved}, ClassRows(
        kept=tuple(name for name in classes if name in places),
        new=tuple(name for name in classes if name not in places),
        left_out=tuple(name for name in trained if name and name not in set(classes)),
        entries=tuple(moved),
    )


def classes_of(checkpoint: Mapping) -> list[str] | None:
    """The class names in a checkpoint, as mmengine's and older OpenMMLab projects write them."""
    meta = checkpoint.get('meta') or {}
    dataset_meta = meta.get('dataset_meta') or {}
    names = dataset_meta.get('classes') or dataset_meta.get('CLASSES') or meta.get('CLASSES')
    return None if not names else [names] if isinstance(names, str) else list(names)


def _coco_names(weights: Mapping[str, Tensor]) -> list[str | None] | None:
    """Names of the rows of an official checkpoint; None for rows of no class, and where it was not trained on COCO."""
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO['classes']
    head = weights.get('bbox_head.class_heads.0.weight')
    if head is None or len(head) not in (80, 91):
        return None
    if len(head) == 80:
        return list(names)
    by_id = dict(zip(COCO_CATEGORY_IDS, names, strict=True))
    return [by_id.get(category_id) for category_id in range(91)]


def _axes_by_size(theirs: Mapping, ours: Mapping, num_theirs: int, num_ours: int) -> dict[str, ClassAxis]:
    axes = {name: _class_axis(theirs[name].shape, num_theirs, ours[name].shape, num_ours)
            for name in theirs if name in ours}
    return {name: axis for name, axis in axes.items() if axis is not None}


def _axes_by_probe(settings: Mapping, ours: Mapping[str, Tensor], num_classes: int) -> dict[str, ClassAxis]:
    """Which entries would be larger with one class more."""
    from mmengine.registry import MODELS

    from detrove.datasets.check.classes import classification_heads
    from detrove.engine.config_file import walk_typed

    larger = copy.deepcopy(dict(settings))
    for _, head in classification_heads(larger):
        if head['num_classes'] == num_classes:
            head['num_classes'] += 1
    for _, part in walk_typed(larger):  # panoptic heads count things and stuff
        if isinstance(part.get('num_things_classes'), int):
            part['num_things_classes'] += 1
    with torch.random.fork_rng(devices=[]):
        try:  # without memory or initialisation
            with torch.device('meta'):
                probe = MODELS.build(larger)
        except (NotImplementedError, RuntimeError):  # constructors that compute with numbers of tensors
            probe = MODELS.build(larger)
    return _axes_by_size(probe.state_dict(), ours, num_classes + 1, num_classes)


def _class_axis(theirs: torch.Size, num_theirs: int, ours: torch.Size, num_ours: int) -> ClassAxis | None:
    """The one dimension that differs, if the difference is one of classes."""
    if len(theirs) != len(ours) or num_theirs == num_ours:
        return None
    different = [dim for dim, (one, other) in enumerate(zip(theirs, ours, strict=True)) if one != other]
    if len(different) != 1:
        return None
    (dim,) = different
    per_class, odd = divmod(theirs[dim] - ours[dim], num_theirs - num_ours)
    rest = theirs[dim] - per_class * num_theirs
    known = rest in (0, 1) if per_class == 1 else rest == 0
    return ClassAxis(dim, per_class, rest) if not odd and 1 <= per_class <= _MAX_PER_CLASS and known else None


def _fits(theirs: Tensor, ours: Tensor, axis: ClassAxis, num_theirs: int) -> bool:
    expected = list(ours.shape)
    expected[axis.dim] = axis.per_class * num_theirs + axis.rest
    return list(theirs.shape) == expected


def _is_convolution(model: nn.Module, name: str) -> bool:
    """Dense heads keep the classes of an anchor together, linear ones (boxes for each class) each class's own."""
    return isinstance(model.get_submodule(name.rpartition('.')[0]), nn.modules.conv._ConvNd)


def _move(theirs: Tensor, ours: Tensor, axis: ClassAxis, pairs: Sequence[tuple[int, int]], num_theirs: int,
          num_ours: int, interleaved: bool) -> Tensor:
    """`ours` with the rows of `pairs` of classes (place in the model, place in the checkpoint) from `theirs`."""
    result = ours.detach().clone()
    rows, found = result.movedim(axis.dim, 0), theirs.movedim(axis.dim, 0)

    def place(label: int, number: int, index: int) -> int:
        return index * number + label if interleaved else label * axis.per_class + index

    indices = [(place(mine, num_ours, i), place(other, num_theirs, i)) for mine, other in pairs
               for i in range(axis.per_class)]
    if axis.rest:
        indices.append((len(rows) - 1, len(found) - 1))
    if indices:
        mine, other = (torch.tensor(column) for column in zip(*indices, strict=True))
        rows[mine] = found[other].to(rows)
    return result


def _listed(names: Sequence[str]) -> str:
    more = f', and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more
