"""The position relation: how the boxes of a layer lie to those of the layer before, as a bias on its self-attention."""

from collections.abc import Iterator, Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from detrove.layers import QueryBranch
from detrove.ops.export_form import is_exporting


@MODELS.register_module()
class PositionRelation(nn.Module):
    """Attention bias from the relative position and size of every visible pair of queries.

    Relation-DETR (Hou et al. 2024), section 4.1: four numbers describe a pair of boxes, each becomes a sine embedding,
    and a linear map with ReLU makes one bias for each head. The embedding, which would take queries^2 x channels, is
    made for some rows at a time, in the backward pass again; what stays in memory is the bias itself. Pairs that cannot
    see each other, such as those of two denoising groups, are left out.

    Args:
        num_heads: heads of the self-attention, given by the decoder.
        num_feats: channels of the embedding of each of the four numbers, even.
        temperature, scale: of the sine embedding.
        without: names of query branches that get no bias; in the paper the one-to-many branch.
        chunk_numel: numbers of the embedding that are made at one time; None for a good choice.
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
        octaves = torch.arange(self.num_feats // 2, device=source_cxcywh.device, dtype=source_cxcywh.dtype)
        frequency = self.scale * self.temperature ** (-2 * octaves / self.num_feats)
        # on the CPU what fits its caches, elsewhere fewer and larger operations
        chunk_numel = self.chunk_numel or (2**21 if source_cxcywh.device.type == 'cpu' else 2**24)
        rows_at_once = max(1, chunk_numel // (4 * self.num_feats * max(1, target_cxcywh.shape[1])))
        if is_exporting():
            return self._relate_at_once(source_cxcywh, target_cxcywh, frequency)
        with torch.autocast(source_cxcywh.device.type, enabled=False):
            return _ChunkedRelation.apply(source_cxcywh, target_cxcywh, frequency,
                                          self.proj.weight.to(source_cxcywh.dtype),
                                          self.proj.bias.to(source_cxcywh.dtype), rows_at_once)

    def _relate_at_once(self, source: Tensor, target: Tensor, frequency: Tensor) -> Tensor:
        """The same in plain operators, for files: source (P, N, 4), target (P, M, 4) -> (P, heads, N, M)."""
        angle = (relative_geometry(source[:, :, None], target[:, None])[..., None] * frequency).flatten(3)
        weight, bias = self.proj.weight.to(angle.dtype), self.proj.bias.to(angle.dtype)
        pre = angle.sin() @ weight[:, 0::2].T + angle.cos() @ weight[:, 1::2].T + bias
        return pre.relu().permute(0, 3, 1, 2)


def relative_geometry(source_cxcywh: Tensor, target_cxcywh: Tensor, eps: float = 1e-5) -> Tensor:
    """How a pair of boxes lies, in four numbers.

    source_cxcywh and target_cxcywh (..., 4), which broadcast, -> (..., 4): log(|dx| / w + 1) and log(|dy| / h + 1) with
    the source's w and h, then the logarithms of the ratios of widths and of heights; `eps` is added to every w and h.
    """
    source_size, target_size = source_cxcywh[..., 2:] + eps, target_cxcywh[..., 2:] + eps
    distance = (source_cxcywh[..., :2] - target_cxcywh[..., :2]).abs()
    return torch.cat([torch.log(distance / source_size + 1), torch.log(source_size / target_size)], dim=-1)


class _ChunkedRelation(torch.autograd.Function):
    """relu(sine embedding of the pairs @ weight + bias) that never holds the embedding of more than some rows.

    In a row of the weight sines and cosines take turns, as in the embedding of the paper.
    """

    @staticmethod
    def forward(ctx, source, target, frequency, weight, bias, rows_at_once):
        pairs, num_rows, _ = source.shape
        out = source.new_empty(pairs, len(weight), num_rows, target.shape[1])
        for pair, row in _chunks(pairs, num_rows, rows_at_once, source.device):
            angle = _angles(source[pair, row], target[pair], frequency)
            pre = angle.sin() @ weight[:, 0::2].T + angle.cos() @ weight[:, 1::2].T + bias
            out[pair, :, row] = pre.relu_().transpose(1, 2)
        ctx.save_for_backward(source, target, frequency, weight, out)
        ctx.rows_at_once = rows_at_once
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        source, target, frequency, weight, out = ctx.saved_tensors
        grad_weight, grad_bias = torch.zeros_like(weight), weight.new_zeros(len(weight))
        for pair, row in _chunks(*source.shape[:2], ctx.rows_at_once, source.device):
            grad_pre = grad[pair, :, row] * (out[pair, :, row] > 0)  # (rows, heads, columns)
            angle = _angles(source[pair, row], target[pair], frequency)
            grad_weight[:, 0::2] += (grad_pre @ angle.sin()).sum(0)
            grad_weight[:, 1::2] += (grad_pre @ angle.cos()).sum(0)
            grad_bias += grad_pre.sum((0, 2))
        return None, None, None, grad_weight, grad_bias, None


def _chunks(pairs: int, num_rows: int, rows_at_once: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Index of the pair and of the row, both (rows_at_once,) or the rest, of all rows of all pairs."""
    for rows in torch.arange(pairs * num_rows, device=device).split(rows_at_once):
        yield torch.div(rows, max(1, num_rows), rounding_mode='floor'), rows % max(1, num_rows)


def _angles(source: Tensor, target: Tensor, frequency: Tensor) -> Tensor:
    """source (R, 4), target (R, M, 4) -> (R, M, 4 * len(frequency))."""
    return (relative_geometry(source[:, None], target)[..., None] * frequency).flatten(2)
