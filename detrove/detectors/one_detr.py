"""The DETR that every paper here is a configuration of."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample
from mmengine.dist import all_reduce, get_world_size
from mmengine.structures import InstanceData
from torch import Tensor, nn

from detrove.checkpoints import convert_while_loading
from detrove.layers import QueryBranch, collate_targets, flatten_levels, fuse_for_inference
from detrove.layers.decoder import DecoderOutput
from detrove.layers.memory import Memory
from detrove.layers.precision import at_least_fp32
from detrove.layers.query_branches import BranchQueries, sets_in_attention
from detrove.layers.query_selection import SelectedQueries
from detrove.layers.targets import BatchTargets
from detrove.losses.mask import QueryMasks
from detrove.losses.set_prediction import PredictionSet, set_losses
from detrove.ops.boxes import box_cxcywh_to_xyxy

Sizes = Sequence[tuple[int, int]]


class DETROutputs(NamedTuple):
    """What one pass gives: the decoder's predictions for all branches, the main selection, and the branches.

    pixels (B, D, h, w): embeddings of which masks are made; None without a mask branch.
    """

    decoder: DecoderOutput
    encoder: SelectedQueries
    branches: list[BranchQueries]
    pixels: Tensor | None = None


@MODELS.register_module()
class OneDETR(BaseDetector):
    """backbone -> neck -> encoder -> query selection -> decoder -> heads, in training with further query branches.

    Args:
        backbone: config of a backbone with multi-level outputs.
        neck: config of the neck, or a list of configs applied one after the other; ends in `num_levels` maps of
            `embed_dims` channels.
        encoder: config of an encoder over all levels; None for none (RT-DETR).
        query_selection, decoder, bbox_head: configs of those parts. They are handed `embed_dims`, `num_levels`,
            `num_classes` and `num_layers` as far as they take them and do not set them, so that each number stands
            once: `bbox_head.num_classes`, `decoder.num_layers`.
        denoising, one_to_many, groups: configs of the branches that exist in training only; None for none.
        matcher, criterion: configs; only used in training.
        encoder_criterion: config of another criterion for the encoder's predictions; None for the same.
        mask_branch: config of what makes instance masks of queries; None for boxes alone.
        targets_per_object: main queries that each object is matched to; more than 1 teaches duplicates, for comparison
            with the ways around that (Group DETR, table 7).
        embed_dims: channels of queries and memory.
        num_levels: number of feature levels.
        padding_mask: tell image from padding, for models on images of different sizes in a batch; boxes are then
            normalised by each image's own size. False takes the whole input as image (RT-DETR).
        test_cfg: dict(max_per_img=...): detections kept per image.
    """

    def __init__(self, *, backbone: dict, neck: dict | list[dict], query_selection: dict, decoder: dict,
                 bbox_head: dict, matcher: dict, criterion: dict, encoder: dict | None = None,
                 encoder_criterion: dict | None = None, denoising: dict | None = None,
                 one_to_many: dict | None = None, groups: dict | None = None, mask_branch: dict | None = None,
                 targets_per_object: int = 1, embed_dims: int = 256, num_levels: int = 3, padding_mask: bool = False,
                 test_cfg: dict | None = None, train_cfg: dict | None = None,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.num_classes = bbox_head['num_classes']
        dims = dict(embed_dims=embed_dims)
        classes = dict(num_classes=self.num_classes, **dims)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.encoder = self._build(encoder, num_levels=num_levels, **dims)
        self.query_selection = self._build(query_selection, **classes)
        self.decoder = self._build(decoder, num_levels=num_levels, **dims)
        self.bbox_head = self._build(bbox_head, num_layers=self.decoder.num_layers, **dims)
        self.denoising = self._build(denoising, **classes)
        self.one_to_many = self._build(one_to_many, **classes)
        self.groups = self._build(groups, selection=query_selection, **classes)
        self.mask_branch = self._build(mask_branch, **dims)
        self.matcher = TASK_UTILS.build(matcher)
        self.criterion = self._build(criterion)
        self.encoder_criterion = self._build(encoder_criterion)
        self.targets_per_object = targets_per_object
        self.num_levels = num_levels
        self.padding_mask = padding_mask
        self.max_per_img = (test_cfg or {}).get('max_per_img', 300)
        self._check_references()
        self.register_load_state_dict_pre_hook(convert_while_loading)

    def _check_references(self) -> None:
        parts = dict(denoising=self.denoising) | {'decoder.relation': getattr(self.decoder, 'relation', None)}
        for name, part in parts.items():
            if part is not None and self.query_selection.gives_points:
                raise ValueError(f'model.{name} needs queries that start as boxes, but this query_selection gives '
                                 f"points; set {name}=None, or use TopKQuerySelection or "
                                 f"LearnedQueries(reference='anchor').")

    @staticmethod
    def _build(cfg: dict | None, **defaults) -> nn.Module | None:
        return None if cfg is None else MODELS.build(cfg, default_args=defaults)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """batch_inputs (B, 3, H, W), normalised -> feature maps, finest first."""
        return self._extract(batch_inputs)[0]

    def _extract(self, batch_inputs: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """The neck's maps, and the backbone's map that belongs to the mask branch alone, if it takes one."""
        maps, mask_map = tuple(self.backbone(batch_inputs)), None
        if self.mask_branch is not None:
            mask_map, maps = self.mask_branch.split_maps(maps)
        feats = tuple(self.neck(maps))
        if len(feats) != self.num_levels:
            raise ValueError(f'the neck gives {len(feats)} feature levels, but num_levels={self.num_levels}.')
        return feats, mask_map

    def decode(self, batch_inputs: Tensor, targets: BatchTargets | None = None,
               image_sizes_hw: Sizes | None = None) -> DETROutputs:
        """Run the network; further branches are added when the model trains and has targets.

        Args:
            batch_inputs: (B, 3, H, W), normalised and padded.
            targets: the objects, in training.
            image_sizes_hw: size of each image inside the input, for models with `padding_mask`; None if none is padded.
        """
        feats, mask_map = self._extract(batch_inputs)
        memory = flatten_levels(feats, image_sizes_hw if self.padding_mask else None, tuple(batch_inputs.shape[-2:]))
        if self.encoder is not None:
            memory = self.encoder(memory)
        selected, branches = self._make_queries(memory, targets if self.training else None)
        content, reference_unact, position = (
            None if parts[0] is None else torch.cat(parts, 1) if len(parts) > 1 else parts[0]
            for parts in zip(*((x.content, x.reference_unact, x.position) for x in branches), strict=True))
        visible = sets_in_attention([x.branch for x in branches])
        decoded = self.decoder(content, reference_unact, position, memory, self.bbox_head, visible)
        pixels = None if self.mask_branch is None else self.mask_branch.pixels(memory, mask_map)
        return DETROutputs(decoded, selected, branches, pixels)

    def _make_queries(self, memory: Memory,
                      targets: BatchTargets | None) -> tuple[SelectedQueries, list[BranchQueries]]:
        """The main selection, and the queries of all branches, main first; `targets` None for the main branch alone."""
        encoded = self.query_selection.encode(memory)
        further = self.one_to_many.num_ranked if self.one_to_many is not None and targets is not None else 0
        selected = self.query_selection(memory, encoded, further)
        if further:
            selected, next_ranked = selected.split(self.query_selection.num_queries)
        main = QueryBranch('main', selected.reference_unact.shape[1], targets_per_object=self.targets_per_object)
        branches = [BranchQueries(main, selected.content, selected.reference_unact, selected.position,
                                  proposals=selected)]
        if targets is None:
            return selected, branches
        if self.groups is not None:
            branches.append(self.groups(memory, encoded))
        if self.one_to_many is not None:
            branches.append(self.one_to_many(memory, encoded, next_ranked if further else None))
        if self.denoising is not None:
            noised = self.denoising(targets)
            branches.append(noised._replace(content=noised.content.to(selected.content.dtype),
                                            position=self.query_selection.position_of(noised.reference_unact)))
        return selected, branches

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            batch_inputs: (B, 3, H, W), normalised and padded.
            batch_data_samples: B samples whose `gt_instances` hold boxes xyxy in pixels of the input, and labels; with
                a mask branch also masks.

        Returns:
            Scalars `loss_cls`, `loss_bbox`, `loss_giou` of the last decoder layer; those of layer i under `d{i}.`, of
            the encoder under `enc.`; the same of other branches behind `dn.` (denoising), `o2m.` (one-to-many) and
            `group.`. With a mask branch `loss_mask` and `loss_dice` of the main and the denoising branch.
        """
        targets = self.collate(batch_inputs, batch_data_samples)
        outputs = self.decode(batch_inputs, targets, self._image_sizes(batch_inputs, batch_data_samples))
        with torch.autocast(batch_inputs.device.type, enabled=False):
            return self.compute_losses(outputs, targets)

    def collate(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> BatchTargets:
        """The objects of a batch as `decode` and `compute_losses` take them; arguments as for `loss`."""
        return collate_targets(batch_data_samples, self._image_sizes(batch_inputs, batch_data_samples),
                               self.num_classes, batch_inputs.device,
                               None if self.mask_branch is None else tuple(batch_inputs.shape[-2:]))

    def compute_losses(self, outputs: DETROutputs, targets: BatchTargets) -> dict[str, Tensor]:
        """Match all layers of all branches and of the encoder, then apply the criterion to each.

        Several processes divide by the objects of all, and multiply by their number because gradients are averaged:
        what one process computes of the same images. The official codes bound the average number of objects by one
        instead of their sum, which differs in steps with fewer objects than processes.
        """
        num_objects = targets.boxes_cxcywh.new_tensor(float(targets.total))  # bfloat16 cannot count beyond 256
        all_reduce(num_objects)
        sizes = [part.branch.num_queries for part in outputs.branches]
        logits = outputs.decoder.logits.split(sizes, dim=2)
        boxes = outputs.decoder.boxes_cxcywh.split(sizes, dim=2)
        sets = []
        masks = self._masks_to_learn(outputs, sizes)
        for part, part_logits, part_boxes, part_masks in zip(outputs.branches, logits, boxes, masks, strict=True):
            copies = self._copies_of_objects(part.branch)
            sets.append(PredictionSet(part.branch, part_logits, part_boxes, part.matched_gt, copies, masks=part_masks))
            found = part.proposals
            if found is not None and found.logits is not None:
                sets.append(PredictionSet(part.branch, found.logits[None], found.boxes_cxcywh[None], None, copies,
                                          from_encoder=True, class_agnostic=found.class_agnostic))
        return set_losses(sets, targets, num_objects, self.matcher, self.criterion, self.encoder_criterion,
                          None if self.mask_branch is None else self.mask_branch.criterion, get_world_size())

    def _masks_to_learn(self, outputs: DETROutputs, sizes: list[int]) -> list[QueryMasks | None]:
        """Of each branch; None for those whose masks are not learned."""
        if self.mask_branch is None:
            return [None] * len(sizes)
        parts = at_least_fp32(torch.stack(outputs.decoder.queries)).split(sizes, dim=2)
        return [QueryMasks(self.mask_branch.embed(queries), outputs.pixels)
                if part.branch.name in self.mask_branch.supervised_branches else None
                for part, queries in zip(outputs.branches, parts, strict=True)]

    def _copies_of_objects(self, branch: QueryBranch) -> int:
        """How often an object counts in the losses of a branch; the main one is a group among the groups."""
        if branch.name in ('main', 'group'):
            groups = 1 if self.groups is None else self.groups.num_groups
        else:
            groups = branch.num_groups
        return groups * branch.targets_per_object

    def predict(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample],
                rescale: bool = True) -> list[DetDataSample]:
        """Detections of one batch, highest score first.

        Args:
            batch_inputs: (B, 3, H, W), normalised and padded.
            batch_data_samples: B samples; with `rescale` their metainfo holds `scale_factor` (width, height).
            rescale: give boxes, and masks, in pixels of the original image instead of the input.

        Returns:
            The samples with `pred_instances`: bboxes (N, 4) xyxy, not clipped to the image, scores and labels (N,).
            With a mask branch also masks (N, H, W) bool, not cut at the box, and mask_scores (N,), by which masks are
            ranked: the score times the mean probability inside the mask.
        """
        sizes_hw = self._image_sizes(batch_inputs, batch_data_samples)
        outputs = self.decode(batch_inputs, image_sizes_hw=sizes_hw)
        scores, labels, query = self.best_pairs(outputs.decoder)
        boxes_xyxy = box_cxcywh_to_xyxy(_gather(outputs.decoder.boxes_cxcywh[-1], query))
        results = []
        for i, (sample, (height, width)) in enumerate(zip(batch_data_samples, sizes_hw, strict=True)):
            scale = boxes_xyxy.new_tensor([width, height])
            factor = scale / scale.new_tensor(self._scale_factor(sample)) if rescale else scale
            found = InstanceData(bboxes=boxes_xyxy[i] * factor.repeat(2), scores=scores[i], labels=labels[i])
            if self.mask_branch is not None:
                queries = outputs.decoder.queries[-1][i, query[i]]
                sizes = self._mask_sizes(tuple(batch_inputs.shape[-2:]), sample, rescale)
                found.masks, quality = self.mask_branch.predict(queries, outputs.pixels[i], **sizes)
                found.mask_scores = found.scores * quality
            results.append(found)
        return self.add_pred_to_datasample(batch_data_samples, results)

    @staticmethod
    def _mask_sizes(input_hw: tuple[int, int], sample: DetDataSample, rescale: bool) -> dict[str, tuple[int, int]]:
        """Sizes of the padded input, of the image in it, and of the masks that are wanted."""
        image_hw = tuple(sample.metainfo.get('img_shape', input_hw)[:2])
        if rescale and 'ori_shape' not in sample.metainfo:
            raise KeyError('predict(rescale=True) needs `ori_shape` in the metainfo of each data sample to give masks; '
                           'add it to meta_keys of PackDetInputs, or call predict(..., rescale=False).')
        output_hw = tuple(sample.metainfo['ori_shape'][:2]) if rescale else image_hw
        return dict(input_hw=input_hw, image_hw=image_hw, output_hw=output_hw)

    def select_detections(self, decoded: DecoderOutput) -> tuple[Tensor, Tensor, Tensor]:
        """The best (query, class) pairs of the last layer: scores (B, N), labels (B, N), boxes_cxcywh (B, N, 4)."""
        scores, labels, query = self.best_pairs(decoded)
        return scores, labels, _gather(decoded.boxes_cxcywh[-1], query)

    def best_pairs(self, decoded: DecoderOutput) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and queries of the best pairs, each (B, N)."""
        scores = decoded.logits[-1].sigmoid().flatten(1)
        scores, index = scores.topk(min(self.max_per_img, scores.shape[1]), dim=1)
        labels = index % self.num_classes
        return scores, labels, torch.div(index, self.num_classes, rounding_mode='floor')

    def _image_sizes(self, batch_inputs: Tensor, data_samples: list[DetDataSample]) -> Sizes:
        """(height, width) that boxes of each image are normalised by: its own size, or the input's."""
        input_hw = tuple(batch_inputs.shape[-2:])
        if not self.padding_mask:
            return [input_hw] * len(data_samples)
        return [tuple(sample.metainfo.get('img_shape', input_hw)[:2]) for sample in data_samples]

    @staticmethod
    def _scale_factor(sample: DetDataSample) -> tuple[float, float]:
        factor = sample.metainfo.get('scale_factor')
        if factor is None:
            raise KeyError('predict(rescale=True) needs `scale_factor` in the metainfo of each data sample; add it to '
                           'meta_keys of PackDetInputs, or call predict(..., rescale=False).')
        return tuple(factor)[:2]

    def _forward(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None):
        """logits (B, Q, num_classes) and boxes_cxcywh (B, Q, 4) of the last layer."""
        sizes_hw = None if batch_data_samples is None else self._image_sizes(batch_inputs, batch_data_samples)
        decoded = self.decode(batch_inputs, image_sizes_hw=sizes_hw).decoder
        return decoded.logits[-1], decoded.boxes_cxcywh[-1]

    def fuse_for_inference(self) -> nn.Module:
        """Fold norms and re-parametrised branches, in place; the model can no longer be trained. Returns itself."""
        return fuse_for_inference(self)


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    """rows (B, Q, D), index (B, N) -> (B, N, D)."""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))
