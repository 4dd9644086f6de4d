"""What happens to each query in the decoder: boxes, scores, sampling points, relations; read by forward hooks."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrove.detectors.one_detr import DETROutputs, OneDETR, Sizes
from detrove.layers.deformable_attention import MSDeformableAttention
from detrove.layers.targets import BatchTargets


@dataclass(frozen=True)
class Sampling:
    """Where deformable cross-attention reads, for Q queries, H heads and K points of all levels.

    points_xy (Q, H, K, 2), as shares of the padded input; weights (Q, H, K), of a head they sum to 1; levels (K,): the
    level of each point; sizes_hw: cells of each level.
    """

    points_xy: Tensor
    weights: Tensor
    levels: Tensor
    sizes_hw: Sizes


@dataclass(frozen=True)
class LayerTrace:
    """A decoder layer and the first image of the batch; Q queries of all branches in the order of this layer.

    reference (Q, 4 or 2): box or point that the layer starts from, in [0, 1]; boxes_cxcywh (Q, 4) and logits
    (Q, num_classes): what the heads say after it. sampling: None where the layer attends to all tokens. relation
    (heads, N, N) of the N main queries: the position relation that is added to their self-attention, row by row; None
    without one. order (Q,): the place in this layer of each query of the next one.
    """

    reference: Tensor
    boxes_cxcywh: Tensor
    logits: Tensor
    sampling: Sampling | None
    relation: Tensor | None
    order: Tensor


@dataclass(frozen=True)
class DecoderTrace:
    """All layers that ran, and what the detector made of them."""

    layers: list[LayerTrace]
    outputs: DETROutputs

    def places(self, layer: int) -> Tensor:
        """(Q,): where the queries, in the order of the last layer, are in `layer`; Rank-DETR sorts them between layers.
        """
        place = torch.arange(len(self.layers[-1].logits), device=self.layers[-1].logits.device)
        for one in reversed(self.layers[layer:-1]):
            place = one.order[place]
        return place


@torch.no_grad()
def trace_decoder(model: OneDETR, inputs: Tensor, sizes_hw: Sizes, targets: BatchTargets | None = None) -> DecoderTrace:
    """Run a detector on a batch and keep what its decoder did for the first image.

    Args:
        model: In eval mode; it is left as it was.
        inputs: (B, 3, H, W), normalised and padded.
        sizes_hw: Size of each image inside the input.
        targets: Objects, to run as in training with all query branches; dropout stays off and norms keep their
            statistics. None for inference.

    Raises:
        ValueError: If the model is no `OneDETR`.
    """
    if not isinstance(model, OneDETR):
        raise ValueError(f'{type(model).__name__} cannot be looked into: it is no OneDETR, the detector of the DETR '
                         'configs here')
    layers: list[LayerTrace] = []
    with _recording(model, layers), _as_in_training(model, targets is not None):
        outputs = model.decode(inputs, targets, sizes_hw)
    return DecoderTrace(layers, outputs)


@contextmanager
def _recording(model: OneDETR, layers: list[LayerTrace]) -> Iterator[None]:
    samplings: dict[int, Sampling] = {}
    with ExitStack() as hooks:
        for index, layer in enumerate(model.decoder.layers):
            if isinstance(getattr(layer, 'cross_attn', None), MSDeformableAttention):
                keep = _SamplingHook(samplings, index)
                hooks.callback(layer.cross_attn.register_forward_hook(keep).remove)
            hooks.callback(layer.register_forward_hook(_LayerHook(model, layers, samplings, index)).remove)
        yield


@contextmanager
def _as_in_training(model: OneDETR, training: bool) -> Iterator[None]:
    """The branches and the predictions of all layers depend on these two flags; dropout and norms on those below."""
    parts: tuple[nn.Module, ...] = (model, model.decoder)
    before = [part.training for part in parts]
    try:
        for part in parts:
            part.training = training
        yield
    finally:
        for part, flag in zip(parts, before, strict=True):
            part.training = flag


@dataclass(frozen=True)
class _SamplingHook:
    found: dict[int, Sampling]
    index: int

    def __call__(self, attention: MSDeformableAttention, args: tuple, output: Tensor) -> None:
        query, reference, memory = args
        points, weights = attention.sampling_points(query, reference, memory)
        self.found[self.index] = Sampling(points[0], weights[0], attention.level_of_point,
                                          memory.spatial_shapes)


@dataclass(frozen=True)
class _LayerHook:
    model: OneDETR
    layers: list[LayerTrace]
    samplings: dict[int, Sampling]
    index: int

    def __call__(self, layer: nn.Module, args: tuple, query: Tensor) -> None:
        _, _, reference, _, branches, bias = args
        decoder, head = self.model.decoder, self.model.bbox_head
        seen = query if decoder.norm is None else decoder.norm(query)
        boxes = decoder.refine(head.box_delta(self.index, seen), reference).sigmoid()
        order = torch.arange(query.shape[1], device=query.device)
        if decoder.ranking is not None and self.index < decoder.num_layers - 1:
            order = decoder.ranking.order(self.index, seen, head, branches)[0]
        relation = None if bias is None else bias[0]
        num_main = branches[0].num_queries
        self.layers.append(LayerTrace(
            reference=reference[0], boxes_cxcywh=boxes[0], logits=head.classify(self.index, seen, branches)[0],
            sampling=self.samplings.get(self.index),
            relation=None if relation is None else relation[0, :, :num_main, :num_main], order=order))


def rank_of(scores: Tensor, query: int, label: int) -> int:
    """Place of a pair of query and class among all pairs, from 1 for the best; scores (Q, num_classes)."""
    return int((scores > scores[query, label]).sum()) + 1


def neighbours(trace: DecoderTrace, query: int, count: int) -> tuple[list[int], Sequence[Tensor | None]]:
    """The queries that `query` is most related to in the last layer with relations, and the weights of all layers.

    Args:
        query: Main query, in the order of the last layer.

    Returns:
        Queries in that order; for each layer None or (Q,), the mean over heads of the relation to each query.
    """
    weights = []
    for index, layer in enumerate(trace.layers):
        places = trace.places(index)
        weights.append(None if layer.relation is None else layer.relation.mean(0)[places[query], places])
    known = [weight for weight in weights if weight is not None]
    if not known:
        return [], weights
    ranked = known[-1].argsort(descending=True, stable=True).tolist()
    return [one for one in ranked if one != query][:count], weights
