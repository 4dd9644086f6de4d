"""The preflight that training runs by itself: what the loaded data tells in a moment."""

import time
from collections.abc import Iterator

import numpy as np
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from detrove.datasets.check.capacity import check_capacity
from detrove.datasets.check.finding import Finding, Severity, error, examples_of, warning
from detrove.datasets.check.source import DataSource, find_sources
from detrove.datasets.wrappers import innermost_datasets

from .lines import line_of
from .schedule import check_schedule

_SECONDS = 1.0  # for each data set; of large ones the rest is not looked at


@HOOKS.register_module()
class PreflightHook(Hook):
    """Log what is probably not meant before the first step: `tools/preflight.py` in short.

    Of the annotations that the data sets hold already: images with more objects than the model can find, classes
    without objects, images that are both in training and validation; the learning rate against the batch, the length
    of training, the warm-up.
    """

    priority = 'LOW'

    def before_train(self, runner) -> None:
        if not is_main_process() or runner.iter:
            return
        findings = [one for one in _findings(runner) if one.severity is not Severity.NOTE]
        for finding in findings:
            place = runner.cfg.filename and line_of(runner.cfg.filename, finding.where)
            number = f' ({finding.count})' if finding.count > 1 else ''
            example = f'\n  e.g. {finding.examples[0]}' if finding.examples else ''
            runner.logger.warning(f'preflight: {finding.message}{number}{example}\n  {finding.where}'
                                  f'{f" ({place})" if place else ""}\n  way out: {finding.fix}')
        if findings:
            runner.logger.info('`detrove preflight` looks at more; --no-preflight leaves this out')


def _findings(runner) -> Iterator[Finding]:
    dataset = runner.train_dataloader.dataset
    yield from check_schedule(runner.cfg, num_processes=get_world_size(), num_images=len(dataset))
    sources, _ = find_sources(runner.cfg, ('train', 'val'))
    looked_at = {}
    for source in sources:
        split = source.splits[0]
        loop = runner.train_loop if split == 'train' else runner.val_loop
        alone = sum(one.splits[0] == split for one in sources) == 1
        inner = list(innermost_datasets(loop.dataloader.dataset)) if loop is not None else []
        if not alone or len(inner) != 1:
            continue
        looked_at[split] = inner[0]
        yield from _check_objects(source, inner[0], runner.cfg.model)
    if {'train', 'val'} <= looked_at.keys():
        yield from _check_overlap(looked_at['train'], looked_at['val'])


def _check_objects(source: DataSource, dataset, model) -> Iterator[Finding]:
    names = dataset.metainfo.get('classes') or ()
    counts, paths, per_class, complete = [], [], np.zeros(len(names), int), True
    for info, is_all in _infos(dataset):
        complete = is_all
        if 'instances' not in info:
            return
        labels = [one['bbox_label'] for one in info['instances'] if not one.get('ignore_flag')]
        counts.append(len(labels))
        paths.append(info.get('img_path', ''))
        np.add.at(per_class, [label for label in labels if label < len(names)], 1)
    yield from check_capacity(source, model, np.array(counts), lambda place: paths[place])
    absent = [name for name, count in zip(names, per_class, strict=True) if not count]
    if absent and source.trains and complete:
        yield warning('classes.without-objects', f'{source.path}.metainfo.classes', 'classes have no object in the '
                      'training set; they cannot be learned', len(absent), examples_of(absent),
                      fix='leave them out, or check their names in the annotation file')


def _check_overlap(trained, evaluated) -> Iterator[Finding]:
    paths = {info.get('img_path') for info, _ in _infos(trained)} - {None}
    same = [info['img_path'] for info, _ in _infos(evaluated) if info.get('img_path') in paths]
    if same:
        yield error('overlap.same-file', 'val_dataloader.dataset', 'images are both in the training and the validation '
                    'set', len(same), examples_of(same), fix='leave them out of one of the two: what is trained on '
                    'tells nothing about new images')


def _infos(dataset) -> Iterator[tuple[dict, bool]]:
    """What the data set knows of its images, as many as the time allows; whether these are all so far."""
    end = time.monotonic() + _SECONDS
    for index in range(len(dataset)):
        yield dataset.get_data_info(index), index == len(dataset) - 1
        if time.monotonic() > end:
            return
