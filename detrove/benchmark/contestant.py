"""A model that takes part in a measurement, and the generated batch that it is measured on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torch import nn

from detrove.apis import build_model
from detrove.detectors import OneDETR


@dataclass(frozen=True)
class Workload:
    """What every contestant is given: `batch` images of size_hw with `objects` objects each."""

    size_hw: tuple[int, int] = (640, 640)
    batch: int = 1
    objects: int = 8
    device: str = 'cpu'
    amp: bool = False

    def make_batch(self, num_classes: int) -> tuple[torch.Tensor, list[DetDataSample]]:
        """Random images, boxes and masks that fill them, the same for everyone; labels as far as the classes go."""
        generator = torch.Generator().manual_seed(0)
        height, width = self.size_hw
        samples = []
        for _ in range(self.batch):
            sizes = dict(img_shape=self.size_hw, ori_shape=self.size_hw, batch_input_shape=self.size_hw)
            sample = DetDataSample(metainfo=dict(sizes, scale_factor=(1.0, 1.0)))
            corners = torch.rand(self.objects, 2, 2, generator=generator).sort(dim=1).values
            boxes_xyxy = corners.flatten(1) * torch.tensor([width, height] * 2) * 0.98
            boxes_xyxy[:, 2:] += 0.01 * torch.tensor([width, height])  # none without area
            labels = torch.randint(0, num_classes, (self.objects,), generator=generator)
            masks = np.zeros((self.objects, height, width), np.uint8)
            for mask, (x0, y0, x1, y1) in zip(masks, boxes_xyxy.int().tolist(), strict=True):
                mask[y0:y1 + 1, x0:x1 + 1] = 1
            sample.gt_instances = InstanceData(bboxes=boxes_xyxy.to(self.device), labels=labels.to(self.device),
                                               masks=BitmapMasks(masks, height, width))
            samples.append(sample)
        images = torch.rand(self.batch, 3, height, width, generator=generator)
        return images.to(self.device), samples


class Contestant:
    """A model from a config, with the config's optimiser.

    Args:
        name: shown in the report.
        config: of a detector.
        workload: what it is measured on.
        compile_model: hand the model's passes to `torch.compile`.
    """

    def __init__(self, name: str, config: Config, workload: Workload, *, compile_model: bool = False):
        self.name = name
        self.workload = workload
        torch.manual_seed(0)
        self.model: nn.Module = build_model(config).to(workload.device)
        wrapper = dict(config.get('optim_wrapper', dict(optimizer=dict(type='SGD', lr=1e-4))), type='OptimWrapper')
        self.optimizer = build_optim_wrapper(self.model, wrapper).optimizer
        num_classes = getattr(self.model, 'num_classes', None) or self.model.bbox_head.num_classes
        self.inputs, self.samples = workload.make_batch(num_classes)
        self.forward_pass = self.model.decode if isinstance(self.model, OneDETR) else self.model.loss
        if compile_model:
            self.forward_pass = torch.compile(self.forward_pass)
        self.predict_pass = torch.compile(self.model._forward) if compile_model else self.model._forward

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def train_parts(self) -> Iterator[str]:
        """One training step; yields the name of each part when the part has been done."""
        self.model.train()
        autocast = torch.autocast(torch.device(self.workload.device).type, torch.bfloat16, enabled=self.workload.amp)
        if isinstance(self.model, OneDETR):
            targets = self.model.collate(self.inputs, self.samples)
            with autocast:
                outputs = self.forward_pass(self.inputs, targets)
            yield 'forward'
            losses = self.model.compute_losses(outputs, targets)
            yield 'matching and losses'
        else:
            with autocast:
                losses = self.forward_pass(self.inputs, self.samples)
            yield 'forward'
        self.model.parse_losses(losses)[0].backward()
        yield 'backward'
        self.optimizer.step()
        self.optimizer.zero_grad()
        yield 'optimiser'

    @torch.no_grad()
    def predict_parts(self) -> Iterator[str]:
        """One forward pass in inference, without post-processing; as `train_parts`."""
        self.model.eval()
        with torch.autocast(torch.device(self.workload.device).type, torch.bfloat16, enabled=self.workload.amp):
            self.predict_pass(self.inputs, self.samples)
        yield 'forward'
