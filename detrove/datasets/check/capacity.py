"""The image with the most objects against what a model can give for an image."""

from collections.abc import Iterator, Mapping

import numpy as np

from .finding import Finding, warning
from .source import DataSource

_QUERY_PLACES = ('query_selection', '', 'panoptic_head', 'decode_head', 'bbox_head')
_LIMIT_PLACES = ('test_cfg.max_per_img', 'test_cfg.max_per_image', 'test_cfg.rcnn.max_per_img')


def check_capacity(
    source: DataSource, model: Mapping, objects: np.ndarray, describe, *, what: str = 'objects'
) -> Iterator[Finding]:
    """Images with more objects than the model has queries or gives detections.

    Args:
        source: Where the images come from.
        model: Of the config.
        objects: (images,) how many objects of its classes each has, crowds left out.
        describe: Place of an image to its name.
        what: The objects' name in the message.
    """
    if not len(objects):
        return
    densest = int(objects.argmax())
    for key, limit, consequence in _limits(model, source):
        number = int((objects > limit).sum())
        if number:
            yield warning('capacity.densest-image', key, f'images have more {what} than {key}={limit}: {consequence}',
                          number, (f'{describe(densest)}: {int(objects[densest])} {what}',),
                          fix=f'{key}={int(objects[densest])} or more')


def _limits(model: Mapping, source: DataSource) -> Iterator[tuple[str, int, str]]:
    for place in _QUERY_PLACES:
        part = model.get(place) if place else model
        key = next((key for key in ('num_queries', 'num_query') if isinstance(part, Mapping) and key in part), None)
        if key and isinstance(part[key], int):
            yield '.'.join(filter(None, ('model', place, key))), part[key], \
                'each query finds one, the others cannot be found'
            break
    if source.evaluators:
        for place in _LIMIT_PLACES:
            value = model
            for key in place.split('.'):
                value = value.get(key) if isinstance(value, Mapping) else None
            if isinstance(value, int) and value > 0:
                yield f'model.{place}', value, 'the others are missed in evaluation'
        for path, evaluator in source.evaluators:
            if isinstance(evaluator.get('max_dets'), int):
                yield f'{path}.max_dets', evaluator['max_dets'], 'the others are missed in evaluation'
