"""The part of a model that goes into a file, with outputs that are plain tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detrove.detectors import OneDETR
from detrove.ops.boxes import box_cxcywh_to_xyxy

from .images import ImageSpec, Preprocess

PARTS = ('model', 'backbone')


class Detection(nn.Module):
    """A `OneDETR` without masks.

    Args:
        model: the detector.
        decoded: give boxes xyxy in pixels of the image (B, N, 4), scores and labels (B, N), best first, instead of
            logits (B, Q, classes) and boxes cxcywh (B, Q, 4) as shares of the input.
    """

    def __init__(self, model: OneDETR, *, decoded: bool):
        super().__init__()
        self.model = model
        self.decoded = decoded
        self.output_names = ('boxes', 'scores', 'labels') if decoded else ('logits', 'boxes_cxcywh')

    def forward(self, inputs: Tensor, image_hw: tuple[int, int]) -> tuple[Tensor, ...]:
        decoder = self.model.decode(inputs).decoder
        if not self.decoded:
            return decoder.logits[-1], decoder.boxes_cxcywh[-1]
        scores, labels, boxes_cxcywh = self.model.select_detections(decoder)
        height, width = (torch.full((1,), side, dtype=boxes_cxcywh.dtype) for side in image_hw)
        return box_cxcywh_to_xyxy(boxes_cxcywh) * torch.cat([width, height, width, height]), scores, labels


class Segmentation(nn.Module):
    """An `EncoderDecoder` of mmseg on one window.

    Args:
        model: the segmentor.
        decoded: give the label of each pixel of the image (B, H, W) instead of logits (B, classes, h, w) of the size of
            the network's input.
        image_is_input: whether the image has the size of the network's input.
    """

    def __init__(self, model: nn.Module, *, decoded: bool, image_is_input: bool):
        super().__init__()
        self.model = model
        self.decoded = decoded
        self.image_is_input = image_is_input
        self.output_names = ('labels',) if decoded else ('logits',)

    def forward(self, inputs: Tensor, image_hw: tuple[int, int]) -> tuple[Tensor, ...]:
        logits = self.model.decode_head(self.model.extract_feat(inputs)).float()
        logits = self._resized(logits, inputs.shape[-2:])
        if not self.decoded:
            return (logits,)
        if not self.image_is_input:
            logits = self._resized(logits, image_hw)
        return (labels_of(logits, self.model.decode_head),)

    def _resized(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return F.interpolate(logits, tuple(size_hw), mode='bilinear', align_corners=self.model.align_corners)


def labels_of(logits: Tensor, decode_head: nn.Module) -> Tensor:
    """logits (B, C, H, W) -> labels (B, H, W); a head with one channel has a threshold."""
    if logits.shape[1] == 1:
        return (logits[:, 0].sigmoid() > decode_head.threshold).long()
    return logits.argmax(1)


class Backbone(nn.Module):
    """Backbone and neck of any detector or segmentor: its feature maps, finest first."""

    def __init__(self, model: nn.Module, num_maps: int):
        super().__init__()
        self.model = model
        self.output_names = tuple(f'map{index}' for index in range(num_maps))

    def forward(self, inputs: Tensor, image_hw: tuple[int, int]) -> tuple[Tensor, ...]:
        return tuple(feat.float() for feat in self.model.extract_feat(inputs))


class FileModel(nn.Module):
    """What a file holds: preprocessing, if any, then a network of this module.

    Args:
        network: with `output_names` and `forward(inputs, image_hw)`.
        preprocess: None to take normalised inputs (B, 3, H, W) float32.
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess | None):
        super().__init__()
        self.network = network
        self.preprocess = preprocess
        self.input_name = 'inputs' if preprocess is None else 'image'
        self.output_names = network.output_names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if self.preprocess is None:
            return self.network(self._cast(image), image.shape[-2:])
        return self.network(self._cast(self.preprocess(image)), image.shape[1:3])

    def _cast(self, inputs: Tensor) -> Tensor:
        return inputs.to(next(self.network.parameters()).dtype)


def make_file_model(model: nn.Module, spec: ImageSpec, *, part: str, preprocessing: bool,
                    postprocessing: bool) -> FileModel:
    """The module that is written.

    Args:
        model: a copy of what `init_model` returns; loses what only training needs.
        spec: what the file takes.
        part: 'model' or 'backbone'.
        preprocessing: take pixels instead of normalised inputs.
        postprocessing: give boxes, scores and labels, or a label map, instead of logits.

    Raises:
        ValueError: for a model that cannot be written whole; says which part of it and what can.
    """
    for name in ('denoising', 'one_to_many', 'groups', 'auxiliary_head'):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
    if part == 'backbone':
        network = Backbone(model, _num_maps(model, spec.size_hw))
    elif isinstance(model, OneDETR):
        network = Detection(model, decoded=postprocessing)
    elif is_plain_segmentor(model):
        network = Segmentation(model, decoded=postprocessing, image_is_input=not spec.resize_inside)
    else:
        raise ValueError(_refusal(model))
    preprocess = None
    if preprocessing:
        preprocess = Preprocess(model.data_preprocessor, spec.size_hw if spec.resize_inside else None)
    return FileModel(network, preprocess).eval()


def is_plain_segmentor(model: nn.Module) -> bool:
    """Whether it is mmseg's backbone, neck and one convolutional head."""
    from mmseg.models import EncoderDecoder
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead

    return isinstance(model, EncoderDecoder) and isinstance(model.decode_head, BaseDecodeHead)


@torch.no_grad()
def _num_maps(model: nn.Module, size_hw: tuple[int, int]) -> int:
    return len(model.extract_feat(torch.zeros(1, 3, *size_hw)))


def _refusal(model: nn.Module) -> str:
    for name in ('roi_head', 'rpn_head', 'bbox_head', 'panoptic_head', 'decode_head'):
        head = getattr(model, name, None)
        if head is not None:
            reason = {'roi_head': 'crops boxes out of the maps and suppresses overlapping ones (NMS), which no '
                      'two runtimes do alike', 'rpn_head': 'suppresses overlapping boxes (NMS)'}.get(
                          name, 'decodes its outputs in a way that is not written here')
            return (f'{type(model).__name__} cannot be exported whole: its {name} ({type(head).__name__}) {reason}. '
                    'Its backbone and neck can: --part backbone')
    return f'{type(model).__name__} cannot be exported: it is no OneDETR and no EncoderDecoder. Try --part backbone'
