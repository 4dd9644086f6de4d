"""The position relation: how the boxes of a layer lie to those of the layer before, as a bias on its self-attention."""

from collections.abc import Iterator, Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from detrove.layers import QueryBranch
from detrove.ops.export_form import is_exporting

_EPS = 1e-5  # added to widths and heights
_USUAL_SIZE = 0.1


@MODELS.register_module()
class PositionRelation(nn.Module):
    """Attention bias from the relative position and size of every visible pair of queries.

    Relation-DETR (Hou et al. 2024), section 4.1: four numbers describe a pair of boxes, each becomes a sine embedding,
    and a linear map with ReLU makes one bias for each head. The embedding, which would take queries^2 x channels, is
    not made: the half of it that compares sizes is a product of matrices, the half that compares centres is made for
    some rows at a time, in the backward pass again. What stays in memory is the bias itself. Pairs that cannot see each
    other, such as those of two denoising groups, are left out.

    Args:
        num_heads: heads of the self-attention, given by the decoder.
        num_feats: channels of the embedding of each of the four numbers, even.
        temperature, scale: of the sine embedding.
        without: names of query branches that get no bias; in the paper the one-to-many branch.
        chunk_numel: numbers that are made at one time; None for a good choice.
    """

    def __init__(self, *, num_heads: int = 8, num_feats: int = 16, temperature: float = 10000.0, scale: float = 100.0,
                 without: Sequence[str] = ('o2m',), chunk_numel: int | None = None):
        super().__init__()
        if num_feats % 2:
            raise ValueError(f'relation.num_feats={num_feats} must be even: half sines, half cosines.')
        self.num_heads = num_heads
        self.num_feats = num_feats
        self.temperature = temperature
        self.scale = scale
        self.without = tuple(without)
        self.chunk_numel = chunk_numel
        self.proj = nn.Linear(4 * num_feats, num_heads)

    def forward(self, source_cxcywh: Tensor, target_cxcywh: Tensor,
                branches: Sequence[QueryBranch]) -> list[Tensor | None]:
        """Bias for the next layer.

        Args:
            source_cxcywh: (B, Q, 4), boxes of the layer before, in [0, 1]; the rows.
            target_cxcywh: (B, Q, 4), boxes of this layer; the columns.
            branches: the query branches, whose sizes sum to Q, main first.

        Returns:
            For each branch None or (B * groups, heads, N, keys), in the boxes' precision, for `BranchSelfAttention`.

        Raises:
            ValueError: if the queries' references are points instead of boxes.
        """
        if source_cxcywh.shape[-1] != 4:
            raise ValueError('the position relation needs references with width and height, but those of the first '
                             'layer are points. Take a query selection that gives boxes: TopKQuerySelection, or '
                             "LearnedQueries with reference='anchor'.")
        sizes = [branch.num_queries for branch in branches]
        sources, targets = source_cxcywh.split(sizes, dim=1), target_cxcywh.split(sizes, dim=1)
        bias = []
        for branch, source, target in zip(branches, sources, targets, strict=True):
            if branch.name in self.without:
                bias.append(None)
                continue
            groups = branch.num_groups
            rows, columns = (x.unflatten(1, (groups, -1)).flatten(0, 1) for x in (source, target))
            if branch.sees_main:
                columns = torch.cat([columns, targets[0].repeat_interleave(groups, dim=0)], dim=1)
            bias.append(self.relate(rows, columns))
        return bias

    def relate(self, source_cxcywh: Tensor, target_cxcywh: Tensor) -> Tensor:
        """source_cxcywh (P, N, 4), target_cxcywh (P, M, 4) -> (P, heads, N, M); no gradient goes to the boxes."""
        source, target = source_cxcywh.detach(), target_cxcywh.detach()
        dtype = source.dtype
        octaves = torch.arange(self.num_feats // 2, device=source.device, dtype=dtype)
        frequency = self.scale * self.temperature ** (-2 * octaves / self.num_feats)
        with torch.autocast(source.device.type, enabled=False):
            of_distances, of_sizes = self.proj.weight.to(dtype).unflatten(1, (4, -1, 2)).split(2, dim=1)
            sizes = relate_sizes(source, target, frequency, of_sizes, self.proj.bias.to(dtype))
            if is_exporting():
                return (sizes + relate_distances(source, target, frequency, of_distances)).relu()
            # on the CPU what fits its caches, elsewhere fewer and larger operations
            chunk_numel = self.chunk_numel or (2**20 if source.device.type == 'cpu' else 2**24)
            rows_at_once = max(1, chunk_numel // max(1, self.num_feats * len(target) * target.shape[1]))
            return _AddDistances.apply(sizes, source, target, frequency, of_distances, rows_at_once)


def relate_distances(source: Tensor, target: Tensor, frequency: Tensor, weight: Tensor) -> Tensor:
    """What the distances of centres add to the bias before its ReLU.

    Args:
        source, target: (P, N, 4) and (P, M, 4), boxes cxcywh.
        frequency: (F,).
        weight: (heads, 2, F, 2): of x and y, of each frequency, of sine and cosine.

    Returns:
        (P, heads, N, M): the linear map of sines and cosines of log(|dx| / w + 1) and log(|dy| / h + 1), with the
        source's w and h, times each frequency.
    """
    sines = _sines_of_distances(source, target, frequency)
    related = sum(weight[..., kind].flatten(1) @ sine for kind, sine in enumerate(sines))
    return related.unflatten(1, (*source.shape[:2], target.shape[1])).transpose(0, 1)


def _sines_of_distances(source: Tensor, target: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
    """Sines and cosines, each (2 * F, P * N * M)."""
    centre, size = source.movedim(-1, 0).contiguous()[..., None].split(2)
    distance = (centre - target.movedim(-1, 0).contiguous()[:2, :, None]).abs()
    number = torch.log(distance / (size + _EPS) + 1)
    angle = (number.flatten(1)[:, None] * frequency[:, None]).flatten(0, 1)
    return angle.sin(), angle.cos()


def relate_sizes(source: Tensor, target: Tensor, frequency: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same for the logarithms of the ratios of widths and of heights, with the bias of the linear map.

    The logarithm of a ratio is a difference, and the sine of a difference a sum of products: all pairs are one product
    of matrices, (N x heads, 4 * F) with (4 * F, M).
    """
    angles = [(_log_sizes(boxes)[..., None] * frequency).flatten(2) for boxes in (source, target)]
    (sine, cosine), (target_sine, target_cosine) = ((angle.sin(), angle.cos()) for angle in angles)
    of_sine, of_cosine = weight.flatten(1, 2)[:, None].unbind(-1)  # (heads, 1, 2 * F)
    sine, cosine = sine[:, None], cosine[:, None]
    left = torch.cat([of_sine * sine + of_cosine * cosine, of_cosine * sine - of_sine * cosine], dim=-1)
    right = torch.cat([target_cosine, target_sine], dim=-1)
    rows = left.shape[1:3]
    constant = bias[:, None].expand(rows).reshape(1, -1, 1)
    return torch.baddbmm(constant, left.flatten(1, 2), right.transpose(1, 2)).unflatten(1, rows)


def _log_sizes(boxes_cxcywh: Tensor) -> Tensor:
    """(..., 2), beside that of a usual box, so that sines of high frequencies keep their precision."""
    return torch.log((boxes_cxcywh[..., 2:] + _EPS) / _USUAL_SIZE)


class _AddDistances(torch.autograd.Function):
    """relu(sizes + `relate_distances`), in the memory of `sizes`, with the sines of some rows at a time."""

    @staticmethod
    def forward(ctx, sizes, source, target, frequency, weight, rows_at_once):
        for rows in _chunks(source.shape[1], rows_at_once):
            sizes[:, :, rows] += relate_distances(source[:, rows], target, frequency, weight)
        out = sizes.relu_()
        ctx.mark_dirty(sizes)
        ctx.save_for_backward(source, target, frequency, out)
        ctx.rows_at_once = rows_at_once
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        source, target, frequency, out = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad, out, 0)  # of ReLU
        heads = grad.shape[1]
        grad_weight = grad.new_zeros(heads, 2, len(frequency), 2)
        for rows in _chunks(source.shape[1], ctx.rows_at_once):
            grad_rows = grad[:, :, rows].transpose(0, 1).reshape(heads, -1)
            for kind, sine in enumerate(_sines_of_distances(source[:, rows], target, frequency)):
                grad_weight[..., kind] += (grad_rows @ sine.t()).view_as(grad_weight[..., kind])
        return grad, None, None, None, grad_weight, None


def _chunks(num_rows: int, rows_at_once: int) -> Iterator[slice]:
    for start in range(0, num_rows, rows_at_once):
        yield slice(start, start + rows_at_once)
