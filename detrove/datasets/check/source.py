"""The data sets that a config names, each built as training would build it, but without reading any data."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmdet.datasets import BaseSegDataset as MMDetSegDataset
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmengine.config import Config
from mmseg.datasets import BaseSegDataset

from detrove.datasets.coco import CocoDetection
from detrove.datasets.shapes import ensure_shapes
from detrove.datasets.shapes_dataset import ShapesDataset, ShapesSegDataset
from detrove.engine.config_file import walk_typed
from detrove.engine.signatures import find_registered

from .finding import Finding, error, note
from .layout import missing_files

SPLITS = ('train', 'val', 'test')
# kind -> classes of that kind; the first that fits counts
_KINDS = {
    'panoptic': CocoPanopticDataset,
    'coco': (CocoDetection, CocoDataset),
    'segmentation': (BaseSegDataset, MMDetSegDataset),
}

Track = Callable[[Iterable, str, int | None], Iterable]


def untracked(items: Iterable, description: str, total: int | None = None) -> Iterable:
    """A `Track` that shows nothing. Others yield the items too, and show how far they are."""
    return items


@dataclass(frozen=True)
class DataSource:
    """A data set of a config, out of its wrappers.

    Attributes:
        splits: Which of train, val and test read it.
        path: Its key in the config, e.g. `train_dataloader.dataset`.
        kind: `coco`, `panoptic` or `segmentation`.
        settings: Its part of the config.
        dataset: The object built from that, not initialised: it knows its paths and classes, and has read nothing.
        evaluators: Parts of the config that evaluate on it, with their keys.
    """

    splits: tuple[str, ...]
    path: str
    kind: str
    settings: Mapping
    dataset: Any
    evaluators: tuple[tuple[str, Mapping], ...] = ()

    @property
    def trains(self) -> bool:
        return 'train' in self.splits

    @property
    def needs_annotations(self) -> bool:
        """Not so for a test set of which only predictions are written."""
        return self.trains or any(not evaluator.get('format_only') for _, evaluator in self.evaluators)

    @property
    def classes(self) -> list[str] | None:
        names = self.dataset.metainfo.get('classes')
        return None if names is None else [names] if isinstance(names, str) else list(names)

    @property
    def wants_masks(self) -> bool:
        loads = any(node.get('with_mask') for _, node in walk_typed(self.settings.get('pipeline') or ()))
        return loads or any('segm' in _as_list(evaluator.get('metric')) for _, evaluator in self.evaluators)

    def transform(self, type_name: str) -> Mapping:
        """The settings of the first transform of that type in the pipeline, or nothing."""
        transforms = (node for _, node in walk_typed(self.settings.get('pipeline') or ()))
        return next((node for node in transforms if str(node['type']).rpartition('.')[2] == type_name), {})


def find_sources(cfg: Config, splits: Sequence[str]) -> tuple[list[DataSource], list[Finding]]:
    """The data sets of these splits, and what hinders their checking.

    A data set that several splits read alike (`test_dataloader = val_dataloader`) is given once.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    sources: list[DataSource] = []
    findings: list[Finding] = []
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        evaluators = () if split == 'train' else tuple(_evaluators(cfg, f'{split}_evaluator'))
        for path, settings in unwrapped(loader.get('dataset') or {}, f'{split}_dataloader.dataset'):
            evaluated = [i for i, other in enumerate(sources) if not other.trains and split not in other.splits]
            same = next((i for i in evaluated if _reads_alike(sources[i].settings, settings)), None)
            if same is not None and split != 'train':
                sources[same] = _joined(sources[same], split, evaluators)
                continue
            built = _build(settings, path, scope)
            if isinstance(built, list):
                findings += built
            else:
                kind, dataset = built
                sources.append(DataSource((split,), path, kind, settings, dataset, evaluators))
    if not sources and not findings:
        findings.append(error('config.no-data', 'train_dataloader', 'the config names no data sets'))
    return sources, findings


def unwrapped(node: Mapping | Sequence, path: str) -> Iterator[tuple[str, Mapping]]:
    """The innermost data sets of RepeatDataset, ConcatDataset, ClassBalancedDataset and other wrappers."""
    if isinstance(node, (list, tuple)):
        for index, inner in enumerate(node):
            yield from unwrapped(inner, f'{path}.{index}')
    elif isinstance(node.get('datasets'), (list, tuple)):
        yield from unwrapped(node['datasets'], f'{path}.datasets')
    elif isinstance(node.get('dataset'), (Mapping, list, tuple)):
        yield from unwrapped(node['dataset'], f'{path}.dataset')
    else:
        yield path, node


def _build(settings: Mapping, path: str, scope: str) -> tuple[str, Any] | list[Finding]:
    """Kind and data set, or why there is none."""
    dataset_class = find_registered(settings.get('type'), ('DATASETS',), scope)
    if dataset_class is None:
        return [error('config.unknown-type', f'{path}.type', f'no data set type {settings.get("type")!r} is registered',
                      fix='write the name of a data set, or import its module in custom_imports')]
    kind = next((kind for kind, classes in _KINDS.items() if issubclass(dataset_class, classes)), None)
    if kind is None:
        known = 'COCO json, COCO panoptic and folders of label maps'
        return [note('config.unchecked-type', f'{path}.type', f'{dataset_class.__name__} was not checked: this command '
                     f'knows {known}, and the types that inherit from them')]
    if settings.get('backend_args') or '://' in (settings.get('data_root') or ''):
        return [note('config.not-local', path, f'{path} was not checked: its files are not on a local disk')]
    arguments = {key: value for key, value in settings.items() if key not in ('type', '_scope_')}
    try:
        dataset = dataset_class(**{**arguments, 'pipeline': [], 'lazy_init': True})
        if isinstance(dataset, (ShapesDataset, ShapesSegDataset)):
            ensure_shapes(dataset.data_root)
    except Exception as problem:  # whatever it is, training would meet it too
        reason = f'{dataset_class.__name__} cannot be built: {str(problem) or type(problem).__name__}'
        # Some types look for their files when they are made, and say nothing about them.
        return list(missing_files(settings, path)) or [
            error('config.cannot-build', path, reason, fix=f'correct the settings below {path}')]
    return kind, dataset


def _joined(source: DataSource, split: str, evaluators: tuple) -> DataSource:
    known = [evaluator for _, evaluator in source.evaluators]
    new = tuple((path, evaluator) for path, evaluator in evaluators if evaluator not in known)
    return replace(source, splits=(*source.splits, split), evaluators=source.evaluators + new)


def _reads_alike(first: Mapping, second: Mapping) -> bool:
    def without_pipeline(settings):
        return {key: value for key, value in settings.items() if key not in ('pipeline', 'test_mode')}

    return without_pipeline(first) == without_pipeline(second)


def _evaluators(cfg: Config, key: str) -> Iterator[tuple[str, Mapping]]:
    given = cfg.get(key)
    if isinstance(given, Mapping):
        yield key, given
    elif isinstance(given, (list, tuple)):
        yield from ((f'{key}.{index}', evaluator) for index, evaluator in enumerate(given))


def _as_list(value) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
