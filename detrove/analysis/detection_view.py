"""One detection of an image with all that its query went through."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from detrove.detectors.one_detr import OneDETR
from detrove.inference import ImagePipeline
from detrove.ops.boxes import box_cxcywh_to_xyxy, pairwise_iou

from .decoder_trace import DecoderTrace, trace_decoder
from .query_targets import BranchTargets, query_targets

_SAME_OBJECT = 0.1  # IoU from which on a detection is taken to be about an object


@dataclass(frozen=True)
class Objects:
    """The annotated objects of an image: boxes_xyxy (M, 4) in its pixels and labels (M,)."""

    boxes_xyxy: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Taught:
    """What a training step on the image teaches: everything, and what concerns the detection.

    Attributes:
        object_index: Of `Objects`, the one that the detection overlaps most; None where it is about none.
        branches: One for each branch and layer.
        places: For each layer the query's place in the main branch.
    """

    object_index: int | None
    branches: list[BranchTargets]
    places: list[int]


@dataclass(frozen=True)
class DetectionView:
    """A detection and the decoder's trace on its image.

    Attributes:
        image_rgb: (H, W, 3).
        classes: Names by label.
        query, label, score: Of the detection; the query is counted in the order of the last layer.
        place: Of the detection among all, from 0 for the best; None where its pair is not among those kept.
        box_wh, point_wh: What 1 is in pixels of the image, for boxes and for sampling points.
        taught: None where the objects are not known, or the model also matches by masks.
    """

    image_rgb: np.ndarray
    classes: Sequence[str]
    trace: DecoderTrace
    query: int
    label: int
    score: float
    place: int | None
    box_wh: np.ndarray
    point_wh: np.ndarray
    objects: Objects | None
    taught: Taught | None

    def boxes_xyxy(self, boxes: Tensor) -> np.ndarray:
        """Boxes cxcywh (N, 4), or points (N, 2) as boxes without size, in [0, 1] -> corners in pixels of the image."""
        if boxes.shape[-1] == 2:
            boxes = torch.cat([boxes, torch.zeros_like(boxes)], -1)
        return box_cxcywh_to_xyxy(boxes).cpu().double().numpy() * np.tile(self.box_wh, 2)

    def class_name(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)


def view_detection(model: OneDETR, image_bgr: np.ndarray, *, detection: int = 0, query: int | None = None,
                   objects: Objects | None = None, path: str = '') -> DetectionView:
    """Detect in an image and follow one detection through the decoder.

    Args:
        model: As `detrove.init_model` returns it.
        image_bgr: (H, W, 3) as the test pipeline reads it.
        detection: The detection to follow, from 0 for the best scored.
        query: Follow this query of the last layer with its best class instead.
        objects: What is annotated, to see what a training step teaches; None where that is not known.
        path: Of the image.

    Raises:
        ValueError: If the model is no `OneDETR`.
        IndexError: If there is no such detection or query.
    """
    packed = ImagePipeline(model.cfg).pack(image_bgr, path=path)
    data = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
    with torch.no_grad():
        data = model.data_preprocessor(data, False)
    inputs, sample = data['inputs'], data['data_samples'][0]
    sizes_hw = [tuple(inputs.shape[-2:])]
    if getattr(model, 'padding_mask', False):
        sizes_hw = [tuple(sample.img_shape[:2])]
    trace = trace_decoder(model, inputs, sizes_hw)
    scores, labels, queries = (values[0].tolist() for values in model.best_pairs(trace.outputs.decoder))
    if query is None:
        if not 0 <= detection < len(scores):
            raise IndexError(f'detection {detection}: there are {len(scores)}, counted from 0')
        place, query, label = detection, queries[detection], labels[detection]
    else:
        logits = trace.layers[-1].logits
        if not 0 <= query < len(logits):
            raise IndexError(f'query {query}: there are {len(logits)}, counted from 0')
        label = int(logits[query].argmax())
        pairs = list(zip(queries, labels, strict=True))
        place = pairs.index((query, label)) if (query, label) in pairs else None
    factor = np.asarray(sample.scale_factor[:2], float)
    view = DetectionView(
        image_rgb=cv2.cvtColor(np.clip(image_bgr, 0, 255).astype(np.uint8), cv2.COLOR_BGR2RGB),
        classes=tuple(getattr(model, 'dataset_meta', {}).get('classes', ())), trace=trace, query=query, label=label,
        score=float(trace.layers[-1].logits[query, label].sigmoid()), place=place,
        box_wh=np.asarray(sizes_hw[0][::-1], float) / factor,
        point_wh=np.asarray(inputs.shape[:1:-1], float) / factor, objects=objects, taught=None)
    if objects is None or not len(objects.labels) or model.mask_branch is not None:
        return view
    return DetectionView(**{**vars(view), 'taught': _taught(model, view, inputs, sample, sizes_hw)})


def _taught(model: OneDETR, view: DetectionView, inputs: Tensor, sample: DetDataSample, sizes_hw) -> Taught:
    objects = view.objects
    factor = np.tile(np.asarray(sample.scale_factor[:2], np.float32), 2)
    boxes = torch.from_numpy(objects.boxes_xyxy.astype(np.float32) * factor).to(inputs.device)
    labels = torch.from_numpy(objects.labels.astype(np.int64)).to(inputs.device)
    learned = DetDataSample(metainfo=sample.metainfo, gt_instances=InstanceData(bboxes=boxes, labels=labels))
    targets = model.collate(inputs, [learned])
    with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == 'cuda' else []):
        torch.manual_seed(0)  # of the noise of denoising queries
        trace = trace_decoder(model, inputs, sizes_hw, targets)
    # The same query: the decoder starts with the same ones, wherever it sorts them to.
    first = int(view.trace.places(0)[view.query])
    places = [int((trace.places(0)[trace.places(index).argsort()] == first).nonzero()[0, 0])
              for index in range(len(trace.layers))]
    box = torch.from_numpy(view.boxes_xyxy(view.trace.layers[-1].boxes_cxcywh[[view.query]]))
    ious = pairwise_iou(box, torch.from_numpy(objects.boxes_xyxy.astype(float)))[0][0]
    nearest = int(ious.argmax())
    return Taught(nearest if ious[nearest] >= _SAME_OBJECT else None, query_targets(model, trace, targets), places)
