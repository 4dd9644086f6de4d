"""Watching a training on a few images: whether they become known, and what does not learn."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.hooks import Hook

from detrove.engine.bare_model import bare_model

#: metric -> from which value on the images count as known
BARS = {'coco/bbox_mAP': 0.9, 'coco/segm_mAP': 0.7, 'mIoU': 90.0}
_WATCHED_STEPS = 20  # for gradients
_AVERAGED_STEPS = 10  # of losses
_DETECTIONS = 100
_STUCK = 0.8  # last loss over first


@dataclass
class Evidence:
    """What was seen.

    Attributes:
        metrics: Of the last validation.
        losses: name -> mean at the start and at the end.
        no_gradient: Names of trained parameters that got no gradient, or only zeros.
        objects, found, precise, named: How many objects there are; how many a box among the first 100 covers with an
            IoU of 0.5, and of 0.75; for how many of those found the box with the highest score has the right class.
        failure: Why training was ended, if it was.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    no_gradient: Sequence[str] = ()
    objects: int = 0
    found: int = 0
    precise: int = 0
    named: int = 0
    failure: str = ''

    @property
    def judged(self) -> dict[str, float]:
        return {name: value for name, value in self.metrics.items() if name in BARS}

    @property
    def known(self) -> bool:
        judged = self.judged
        return bool(judged) and not self.failure and all(value >= BARS[name] for name, value in judged.items())


class OverfitHook(Hook):
    """End the training when the images are known, and say what does not learn when they are not.

    Attributes:
        evidence: What was seen so far.
    """

    priority = 'LOW'

    def __init__(self):
        self.evidence = Evidence()
        self._first: list[dict[str, float]] = []
        self._last: deque[dict[str, float]] = deque(maxlen=_AVERAGED_STEPS)
        self._silent: set[str] = set()
        self._handles = []

    def before_train(self, runner) -> None:
        model = bare_model(runner.model)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self._silent.add(name)
                self._handles.append(parameter.register_post_accumulate_grad_hook(self._watcher(name)))

    def _watcher(self, name: str):
        def saw_gradient(parameter: torch.Tensor) -> None:
            if name in self._silent and bool(parameter.grad.any()):
                self._silent.discard(name)

        return saw_gradient

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        losses = {name: float(torch.as_tensor(value).detach()) for name, value in (outputs or {}).items()
                  if 'loss' in name}
        if len(self._first) < _AVERAGED_STEPS:
            self._first.append(losses)
        self._last.append(losses)
        if runner.iter + 1 == _WATCHED_STEPS:
            self._stop_watching()
        broken = [name for name, value in losses.items() if not math.isfinite(value)]
        if broken:
            self.evidence.failure = f'{", ".join(broken)} became {losses[broken[0]]} in step {runner.iter + 1}'
            runner.train_loop.stop_training = True

    def _stop_watching(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def before_val_epoch(self, runner) -> None:
        self.evidence.objects = self.evidence.found = self.evidence.precise = self.evidence.named = 0

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for sample in outputs or ():
            if 'pred_instances' in sample and 'gt_instances' in sample:
                self._compare(sample.pred_instances, sample.gt_instances)

    def _compare(self, predicted, truth) -> None:
        boxes = truth.bboxes
        boxes = (boxes.tensor if hasattr(boxes, 'tensor') else torch.as_tensor(boxes)).to(predicted.bboxes)
        order = predicted.scores.argsort(descending=True)[:_DETECTIONS]
        self.evidence.objects += len(boxes)
        if not len(boxes) or not len(order):
            return
        overlaps = bbox_overlaps(boxes, predicted.bboxes[order])  # objects, detections by falling score
        covers = overlaps >= 0.5
        found = covers.any(1)
        first = covers.int().argmax(1)  # the one with the highest score
        right = predicted.labels[order][first] == torch.as_tensor(truth.labels).to(order)
        self.evidence.found += int(found.sum())
        self.evidence.precise += int((overlaps >= 0.75).any(1).sum())
        self.evidence.named += int((found & right).sum())

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.evidence.metrics = {name: float(value) for name, value in (metrics or {}).items()
                                 if isinstance(value, (int, float)) or getattr(value, 'ndim', None) == 0}
        if self.evidence.known:
            runner.train_loop.stop_training = True

    def after_train(self, runner) -> None:
        self._stop_watching()
        self.evidence.no_gradient = sorted(self._silent)
        if self._first:
            names = self._first[0]
            self.evidence.losses = {name: (_mean(self._first, name), _mean(self._last, name)) for name in names}
        runner.logger.info('\n'.join(['overfit check', *(f'  {line}' for line in diagnose(self.evidence))]))


def diagnose(evidence: Evidence) -> Iterator[str]:
    """Lines for people: the verdict, and where the images are not known, what does not learn."""
    for name, value in evidence.judged.items():
        yield f'{name} {value:.4g}, known from {BARS[name]:g} on: {"reached" if value >= BARS[name] else "NOT reached"}'
    if evidence.known:
        yield 'the images are known: data, model and losses go together'
    elif evidence.failure:
        yield f'{evidence.failure}: lower optim_wrapper.optimizer.lr, or set optim_wrapper.clip_grad'
    else:
        yield from _about_boxes(evidence)
        yield from _about_pixels(evidence.metrics)
        yield from _about_losses(evidence.losses)
    if evidence.no_gradient:
        names = evidence.no_gradient
        more = f', and {len(names) - 6} more' if len(names) > 6 else ''
        yield f'no gradient in the first {_WATCHED_STEPS} steps ({len(names)} tensors): {", ".join(names[:6])}{more}'


def _about_boxes(evidence: Evidence) -> Iterator[str]:
    if not evidence.objects:
        return
    found, precise = evidence.found / evidence.objects, evidence.precise / evidence.objects
    yield f'of {evidence.objects} objects {found:.0%} have a box with IoU 0.5, {precise:.0%} one with 0.75'
    if found < 0.5:
        yield 'boxes are not learned: look at them with `detrove browse-dataset`; see the box losses below'
        return
    named = evidence.named / evidence.found
    ap, ap50 = (evidence.metrics.get(f'coco/bbox_mAP{suffix}', -1) for suffix in ('', '_50'))
    if named < 0.7:
        yield (f'boxes are fine, the classification is stuck: {named:.0%} of the objects found have the right class; '
               'compare the names in `detrove browse-dataset`, and raise the rate or the weight of the class loss')
    elif ap50 - ap > 0.3:
        yield f'boxes are coarse (AP50 {ap50:.2f}, AP {ap:.2f}): they are still being learned; give it more steps'
    else:
        yield f'of the objects found {named:.0%} have the right class: it learns, give it more steps (--overfit-steps)'


def _about_pixels(metrics: Mapping[str, float]) -> Iterator[str]:
    accuracy, iou = metrics.get('aAcc'), metrics.get('mIoU')
    if accuracy is None or iou is None:
        return
    if accuracy - iou > 30:
        yield (f'{accuracy:.0f} % of the pixels are right, and mIoU is {iou:.0f}: the large classes are learned, the '
               'small ones are not; the table of classes above names them')
    else:
        yield f'{accuracy:.0f} % of the pixels are right, mIoU {iou:.0f}'


def _about_losses(losses: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    for name, (first, last) in list(losses.items())[:8]:
        stuck = ' (does not fall)' if first > 0 and last > _STUCK * first else ''
        yield f'{name}: {first:.3g} -> {last:.3g}{stuck}'


def _mean(steps: Sequence[Mapping[str, float]], name: str) -> float:
    values = [step[name] for step in steps if name in step]
    return sum(values) / len(values) if values else float('nan')
