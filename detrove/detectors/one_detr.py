"""The DETR that every paper here is a configuration of."""

from typing import NamedTuple

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from detrove.checkpoints import convert_while_loading
from detrove.layers import QueryBranch, collate_targets, fuse_for_inference
from detrove.layers.decoder import DecoderOutput
from detrove.layers.denoising import DenoisingQueries
from detrove.layers.query_selection import SelectedQueries
from detrove.layers.targets import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy


class DETROutputs(NamedTuple):
    """What one pass gives: the decoder's predictions for all branches, the encoder's, and the branches."""

    decoder: DecoderOutput
    encoder: SelectedQueries
    denoising: DenoisingQueries | None
    branches: list[QueryBranch]


@MODELS.register_module()
class OneDETR(BaseDetector):
    """backbone -> neck -> query selection -> decoder -> heads, in training with further query branches and losses.

    Args:
        backbone: config of a backbone with multi-level outputs.
        neck: config of the neck, or a list of configs applied one after the other; ends in `num_levels` maps of
            `embed_dims` channels.
        query_selection, decoder, bbox_head: configs of those parts. They are handed `embed_dims`, `num_levels`,
            `num_classes` and `num_layers` as far as they take them and do not set them, so that each number stands
            once: `bbox_head.num_classes`, `decoder.num_layers`.
        denoising: config of the denoising branch; None for none.
        matcher, criterion: configs; only used in training.
        embed_dims: channels of queries and memory.
        num_levels: number of feature levels.
        test_cfg: dict(max_per_img=...): detections kept per image.
    """

    def __init__(self, *, backbone: dict, neck: dict | list[dict], query_selection: dict, decoder: dict,
                 bbox_head: dict, matcher: dict, criterion: dict, denoising: dict | None = None,
                 embed_dims: int = 256, num_levels: int = 3, test_cfg: dict | None = None,
                 train_cfg: dict | None = None, data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        num_classes = bbox_head['num_classes']
        dims = dict(embed_dims=embed_dims)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.query_selection = MODELS.build(query_selection, default_args=dict(num_classes=num_classes, **dims))
        self.decoder = MODELS.build(decoder, default_args=dict(num_levels=num_levels, **dims))
        self.bbox_head = MODELS.build(bbox_head, default_args=dict(num_layers=self.decoder.num_layers, **dims))
        self.denoising = None
        if denoising is not None:
            self.denoising = MODELS.build(denoising, default_args=dict(num_classes=num_classes, **dims))
        self.matcher = TASK_UTILS.build(matcher)
        self.criterion = MODELS.build(criterion)
        self.num_classes = num_classes
        self.num_levels = num_levels
        self.max_per_img = (test_cfg or {}).get('max_per_img', 300)
        self.register_load_state_dict_pre_hook(convert_while_loading)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """batch_inputs (B, 3, H, W), normalised -> feature maps, finest first."""
        feats = tuple(self.neck(self.backbone(batch_inputs)))
        if len(feats) != self.num_levels:
            raise ValueError(f'the neck gives {len(feats)} feature levels, but num_levels={self.num_levels}.')
        return feats

    def decode(self, batch_inputs: Tensor, targets: BatchTargets | None = None) -> DETROutputs:
        """Run the network; denoising queries are added when the model trains and has targets."""
        feats = self.extract_feat(batch_inputs)
        spatial_shapes = tuple((int(feat.shape[-2]), int(feat.shape[-1])) for feat in feats)
        memory = torch.cat([feat.flatten(2).transpose(1, 2) for feat in feats], dim=1)
        selected = self.query_selection(memory, spatial_shapes)
        query, reference_unact = selected.content, selected.reference_unact
        branches = [QueryBranch('main', query.shape[1])]
        denoising = None
        if self.training and self.denoising is not None and targets is not None:
            denoising = self.denoising(targets)
            branches.append(denoising.branch)
            query = torch.cat([query, denoising.content.to(query.dtype)], dim=1)
            reference_unact = torch.cat([reference_unact, denoising.reference_unact], dim=1)
        decoded = self.decoder(query, reference_unact, memory, spatial_shapes, self.bbox_head, branches)
        return DETROutputs(decoded, selected, denoising, branches)

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            batch_inputs: (B, 3, H, W), normalised and padded.
            batch_data_samples: B samples whose `gt_instances` hold boxes xyxy in pixels of the input, and labels.

        Returns:
            Scalars `loss_cls`, `loss_bbox`, `loss_giou` of the last decoder layer; those of layer i under `d{i}.`,
            of the encoder under `enc.`, of the denoising branch under `dn.`.
        """
        targets = collate_targets(batch_data_samples, tuple(batch_inputs.shape[-2:]), self.num_classes,
                                  batch_inputs.device)
        outputs = self.decode(batch_inputs, targets)
        with torch.autocast(batch_inputs.device.type, enabled=False):
            return self.compute_losses(outputs, targets)

    def compute_losses(self, outputs: DETROutputs, targets: BatchTargets) -> dict[str, Tensor]:
        """Match the main branch of every layer and of the encoder, then apply the criterion to each branch."""
        num_objects = outputs.decoder.logits.new_tensor(float(targets.total))
        num_objects = reduce_mean(num_objects).clamp(min=1)
        sizes = [branch.num_queries for branch in outputs.branches]
        logits = outputs.decoder.logits.split(sizes, dim=2)
        boxes = outputs.decoder.boxes_cxcywh.split(sizes, dim=2)
        main_logits = torch.cat([logits[0], outputs.encoder.logits[None]])
        main_boxes = torch.cat([boxes[0], outputs.encoder.boxes_cxcywh[None]])
        matched_gt = self.matcher(main_logits, main_boxes, targets)
        names = [f'd{i}.' for i in range(len(logits[0]) - 1)] + ['']
        losses = self._name_layers(self.criterion(main_logits, main_boxes, matched_gt, targets, num_objects),
                                   [*names, 'enc.'])
        if outputs.denoising is not None:
            branch = outputs.denoising.branch
            values = self.criterion(logits[1], boxes[1], outputs.denoising.matched_gt[None], targets,
                                    num_objects * branch.num_groups)
            losses |= self._name_layers(values, [f'{branch.name}.{name}' for name in names])
        return losses

    @staticmethod
    def _name_layers(values: dict[str, Tensor], prefixes: list[str]) -> dict[str, Tensor]:
        return {prefix + name: value for name, layers in values.items()
                for prefix, value in zip(prefixes, layers.unbind(), strict=True)}

    def predict(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample],
                rescale: bool = True) -> list[DetDataSample]:
        """Detections of one batch, highest score first.

        Args:
            batch_inputs: (B, 3, H, W), normalised and padded.
            batch_data_samples: B samples; with `rescale` their metainfo holds `scale_factor` (width, height).
            rescale: give boxes in pixels of the original image instead of the input.

        Returns:
            The samples with `pred_instances`: bboxes (N, 4) xyxy, not clipped to the image, scores and labels (N,).
        """
        decoded = self.decode(batch_inputs).decoder
        scores, labels, boxes_cxcywh = self.select_detections(decoded)
        height, width = batch_inputs.shape[-2:]
        boxes_xyxy = box_cxcywh_to_xyxy(boxes_cxcywh)
        scale = boxes_xyxy.new_tensor([width, height])
        results = []
        for i, sample in enumerate(batch_data_samples):
            factor = scale / scale.new_tensor(self._scale_factor(sample)) if rescale else scale
            results.append(InstanceData(bboxes=boxes_xyxy[i] * factor.repeat(2), scores=scores[i], labels=labels[i]))
        return self.add_pred_to_datasample(batch_data_samples, results)

    def select_detections(self, decoded: DecoderOutput) -> tuple[Tensor, Tensor, Tensor]:
        """The best (query, class) pairs of the last layer: scores (B, N), labels (B, N), boxes_cxcywh (B, N, 4)."""
        scores = decoded.logits[-1].sigmoid().flatten(1)
        scores, index = scores.topk(min(self.max_per_img, scores.shape[1]), dim=1)
        labels = index % self.num_classes
        query = torch.div(index, self.num_classes, rounding_mode='floor')
        return scores, labels, decoded.boxes_cxcywh[-1].gather(1, query[..., None].expand(-1, -1, 4))

    @staticmethod
    def _scale_factor(sample: DetDataSample) -> tuple[float, float]:
        factor = sample.metainfo.get('scale_factor')
        if factor is None:
            raise KeyError('predict(rescale=True) needs `scale_factor` in the metainfo of each data sample; add it to '
                           'meta_keys of PackDetInputs, or call predict(..., rescale=False).')
        return tuple(factor)[:2]

    def _forward(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None):
        """logits (B, Q, num_classes) and boxes_cxcywh (B, Q, 4) of the last layer."""
        decoded = self.decode(batch_inputs).decoder
        return decoded.logits[-1], decoded.boxes_cxcywh[-1]

    def fuse_for_inference(self) -> nn.Module:
        """Fold norms and re-parametrised branches, in place; the model can no longer be trained. Returns itself."""
        return fuse_for_inference(self)
