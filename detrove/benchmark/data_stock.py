"""mmdet's stock transforms for the training pipelines that the benchmark compares with."""

_LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
_FLIP, _PACK = dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')
_MULTI_SCALE = dict(
    type='RandomChoiceResize', resize_type='Resize', keep_ratio=True,
    scales=[(size, 1333) for size in range(480, 801, 32)])

STOCK = {
    # photometric, zoom-out, IoU crop, flip, resize: mmdet's for SSD, in RT-DETR's order
    'rt_detr': [
        *_LOAD,
        dict(type='PhotoMetricDistortion'),
        dict(type='Expand', mean=[0, 0, 0], ratio_range=(1, 4), prob=0.5),
        dict(type='MinIoURandomCrop'),
        _FLIP,
        dict(type='Resize', scale=(640, 640), keep_ratio=False),
        _PACK,
    ],
    # as mmdet's configs of DINO and Deformable DETR have them
    'dino': [
        *_LOAD,
        _FLIP,
        dict(type='RandomChoice', transforms=[
            [_MULTI_SCALE],
            [
                dict(_MULTI_SCALE, scales=[(400, 4200), (500, 4200), (600, 4200)]),
                dict(type='RandomCrop', crop_type='absolute_range', crop_size=(384, 600), allow_negative_crop=True),
                _MULTI_SCALE,
            ],
        ]),
        _PACK,
    ],
}


def _by_pillow(transforms):
    """The same transforms with resizing by Pillow, which smooths as the official pipelines do."""
    if isinstance(transforms, list):
        return [_by_pillow(one) for one in transforms]
    if 'transforms' in transforms:
        return dict(transforms, transforms=_by_pillow(transforms['transforms']))
    return dict(transforms, backend='pillow') if 'Resize' in transforms['type'] else transforms


STOCK['dino_pillow'] = _by_pillow(STOCK['dino'])
