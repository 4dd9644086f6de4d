"""Training on a few images until they are known: what a model and its data must be able to do before anything else."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from detrove.datasets.check.source import DataSource, find_sources

from .config_file import walk_typed

STEPS = 1000
_VALIDATIONS = 20
_WARM_UP = 20
# hooks that change the course of a long training
_DROPPED_HOOKS = ('EMAHook', 'StopAugmentation', 'PipelineSwitchHook', 'EarlyStoppingHook', 'YOLOXModeSwitchHook')
_LOADS = ('LoadImageFromFile', 'LoadAnnotations')
_SPATIAL = ('Resize', 'Pad')  # of a test pipeline; the same for every image


def prepare_overfit(cfg: Config, number: int, *, steps: int = STEPS) -> None:
    """Change a config, in place, into one that trains on a few images and is evaluated on the same.

    The images are the first ones with objects. There is no augmentation, no averaging of weights, no schedule: after
    a short warm-up the learning rate of the config stays. The working directory becomes `WORK_DIR/overfit`.

    Args:
        cfg: With `work_dir`.
        number: Of images.
        steps: At most; training ends earlier when the images are known.

    Raises:
        ValueError: If the training set is neither COCO json nor label maps, or has no image with objects.
    """
    source = _first_source(cfg)
    folder = Path(cfg.work_dir) / 'overfit'
    cfg.work_dir = str(folder)
    settings = {key: value for key, value in source.settings.items() if key not in ('pipeline', 'filter_cfg')}
    if source.kind == 'coco':
        file = _write_subset(source, number, folder)
        settings['ann_file'] = str(file)
        metric = ['bbox', 'segm'] if source.wants_masks and _predicts_masks(cfg) else ['bbox']
        evaluator = dict(type='mmdet.CocoEvaluation', ann_file=str(file), metric=metric, classwise=False)
    else:
        settings['indices'] = list(range(number))
        evaluator = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
    train_pipeline, val_pipeline = _pipelines(cfg, source)
    batch = min(cfg.train_dataloader.get('batch_size', 1), number)
    loading = dict(num_workers=0, persistent_workers=False)
    cfg.train_dataloader = ConfigDict(
        batch_size=batch, sampler=dict(type='InfiniteSampler', shuffle=True),
        dataset=dict(settings, pipeline=train_pipeline), **loading)
    cfg.val_dataloader = ConfigDict(
        batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(settings, pipeline=val_pipeline, test_mode=True), **loading)
    cfg.val_evaluator = ConfigDict(evaluator)
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    _shorten(cfg, steps)


def _shorten(cfg: Config, steps: int) -> None:
    interval = min(steps, max(10, steps // _VALIDATIONS))
    cfg.train_cfg = ConfigDict(type='IterBasedTrainLoop', max_iters=steps, val_interval=interval)
    cfg.val_cfg = ConfigDict(type='ValLoop')
    cfg.param_scheduler = [ConfigDict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=_WARM_UP)]
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or () if hook['type'] not in _DROPPED_HOOKS]
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    hooks.checkpoint = None
    if hooks.get('logger'):
        hooks.logger.log_metric_by_epoch = False
    cfg.log_processor = ConfigDict(type='LogProcessor', by_epoch=False, window_size=10)
    cfg.resume = False
    cfg.pop('auto_scale_lr', None)
    preprocessor = cfg.model.get('data_preprocessor') or {}
    if preprocessor.get('batch_augments'):  # padding stays, random sizes go
        kept = [one for one in preprocessor['batch_augments'] if 'Pad' in one['type']]
        preprocessor['batch_augments'] = kept or None


def _first_source(cfg: Config) -> DataSource:
    sources, findings = find_sources(cfg, ('train',))
    usable = next((source for source in sources if source.kind in ('coco', 'segmentation')), None)
    if usable is None:
        reason = findings[0].message if findings else f'{type(sources[0].dataset).__name__} is neither'
        raise ValueError('--overfit takes its images from COCO json or folders of label maps, and the training set of '
                         f'{cfg.filename} has none: {reason}')
    return usable


def _write_subset(source: DataSource, number: int, folder: Path) -> Path:
    """A COCO json with the first images that have objects of the classes."""
    file = Path(source.dataset.ann_file)
    if not file.is_file():
        raise ValueError(f'--overfit: no annotation file {file.absolute()} ({source.path}.ann_file)')
    content = json.loads(file.read_text(encoding='utf-8'))
    classes = source.classes
    wanted = {one['id'] for one in content['categories'] if classes is None or one['name'] in classes}
    with_objects = {one['image_id'] for one in content['annotations'] if one['category_id'] in wanted
                    and not one.get('iscrowd') and min(one['bbox'][2:]) >= 1}
    images = [image for image in content['images'] if image['id'] in with_objects][:number]
    if not images:
        raise ValueError(f'--overfit: {file} has no image with an object of the classes {classes}')
    chosen = {image['id'] for image in images}
    subset = {**content, 'images': images,
              'annotations': [one for one in content['annotations'] if one['image_id'] in chosen]}
    folder.mkdir(parents=True, exist_ok=True)
    written = (folder / 'annotations.json').absolute()
    written.write_text(json.dumps(subset), encoding='utf-8')
    return written


def _pipelines(cfg: Config, source: DataSource) -> tuple[list[dict], list[dict]]:
    """For training and evaluation: the resizing of the test pipeline with what the training pipeline loads and packs.
    """
    trained = list(_flat(source.settings.get('pipeline') or ()))
    evaluated = list(_flat(_innermost_pipeline(cfg) or trained))
    loads = [one for one in trained if _name(one).startswith('Load')] or [dict(type=name) for name in _LOADS]
    image = [one for one in loads if _name(one) != 'LoadAnnotations']
    annotations = [one for one in loads if _name(one) == 'LoadAnnotations'] or [dict(type='LoadAnnotations')]
    size = (cfg.model.get('data_preprocessor') or {}).get('size')
    if source.kind == 'segmentation' and size:  # segmentors take batches of exactly this size
        spatial = [dict(type='Resize', scale=tuple(size[::-1]), keep_ratio=False)]
    else:
        spatial = [one for one in evaluated if _name(one) in _SPATIAL]
    pack = next((one for one in reversed(trained) if _name(one).startswith('Pack')), None)
    pack_evaluated = next((one for one in reversed(evaluated) if _name(one).startswith('Pack')), pack)
    if pack is None:
        raise ValueError(f'--overfit: {source.path}.pipeline has no step that packs inputs (PackDetInputs, '
                         'PackSegInputs)')
    copies = copy.deepcopy
    return copies([*image, *annotations, *spatial, pack]), copies([*image, *spatial, *annotations, pack_evaluated])


def _innermost_pipeline(cfg: Config) -> Sequence[Mapping] | None:
    sources, _ = find_sources(cfg, ('val',))
    return next((source.settings.get('pipeline') for source in sources), None)


def _flat(pipeline: Sequence) -> Iterator[Mapping]:
    for one in pipeline:
        if isinstance(one, Mapping):
            yield one


def _name(transform: Mapping) -> str:
    return str(transform['type']).rpartition('.')[2]


def _predicts_masks(cfg: Config) -> bool:
    return bool(cfg.model.get('mask_branch')) or any('mask_head' in path for path, _ in walk_typed(cfg.model))
