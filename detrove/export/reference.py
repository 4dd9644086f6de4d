"""What the PyTorch model itself answers, by the way that `detrove infer` takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmseg.structures import SegDataSample
from torch import nn

from .images import SampleBatch
from .networks import FileModel, is_plain_segmentor, labels_of

# How far pixels are moved, of their range: by what rounding in float32 does to a network's values, and less.
NEARBY = (1e-6, 3e-6, 1e-5, 3e-5)
TRIES = 4  # for each


@torch.no_grad()
def reference_answers(model: nn.Module, module: FileModel, batch: SampleBatch) -> tuple[np.ndarray, list[np.ndarray]]:
    """The input of a file for this batch, and what its outputs have to be.

    Args:
        model: unchanged, in float32.
        module: what was made of it, for its outputs' names.
        batch: sample images.
    """
    image_hw, network_hw = batch.images.shape[1:3], tuple(batch.pixels.shape[-2:])
    meta = dict(img_shape=network_hw, ori_shape=image_hw, pad_shape=network_hw,
                scale_factor=(network_hw[1] / image_hw[1], network_hw[0] / image_hw[0]))
    kind = SegDataSample if is_plain_segmentor(model) else DetDataSample
    samples = [kind(metainfo=meta) for _ in batch.pixels]
    inputs = model.data_preprocessor(dict(inputs=list(batch.pixels), data_samples=samples))['inputs']
    given = inputs.numpy() if module.preprocess is None else batch.images
    return given, [tensor.numpy() for tensor in _answers(model, module, inputs, samples, meta)]


def nearby_answers(model: nn.Module, module: FileModel, batch: SampleBatch) -> Iterator[list[np.ndarray]]:
    """What the model itself answers where its pixels move by no more than rounding moves its values.

    Where scores of queries nearly tie, this changes their order, and with it what they are given: two right answers,
    far from each other. Arguments as for `reference_answers`.
    """
    noise = torch.Generator().manual_seed(0)
    for amount in NEARBY:
        for _ in range(TRIES):
            moved = batch.pixels + 255 * amount * (2 * torch.rand(batch.pixels.shape, generator=noise) - 1)
            yield reference_answers(model, module, replace(batch, pixels=moved))[1]


def _answers(model, module, inputs, samples, meta):
    names = module.output_names
    if names[0].startswith('map'):
        return model.extract_feat(inputs)
    if names == ('labels',):
        logits = model.encode_decode(inputs, [meta] * len(samples))
        resized = nn.functional.interpolate(logits, meta['ori_shape'], mode='bilinear',
                                            align_corners=model.align_corners)
        return [labels_of(resized, model.decode_head)]
    if names == ('logits',):
        return [model.encode_decode(inputs, [meta] * len(samples))]
    if 'boxes_cxcywh' in names:
        return model._forward(inputs)
    found = [sample.pred_instances for sample in model.predict(inputs, samples, rescale=True)]
    return [torch.stack([getattr(one, name) for one in found]) for name in ('bboxes', 'scores', 'labels')]
