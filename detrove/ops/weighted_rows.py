"""Weighted sums of the rows of a table, and their gradients: the core that sampling operators share.

`out[n] = sum_k weights[n, k] * table[rows[n, k]]`. Nothing of size N x K x D is ever stored: `embedding_bag`
multiplies and adds on the fly. It is many times slower on strided rows, hence `contiguous`. Callers bring their
own autograd formula.
"""

import torch
import torch.nn.functional as F

CPU_BUFFER_ELEMENTS = 2**19  # gathered per step of grad_weights: 2 MiB in fp32, which stays in the caches
_WIDE = 128  # columns of a table from which on the CPU is faster without that buffer; with 32 it takes twice as long


def sum_rows(table: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """table (R, D), rows (N, K) int, weights (N, K) in table's dtype -> (N, D)."""
    return F.embedding_bag(rows, table.contiguous(), per_sample_weights=weights, mode='sum')


def grad_weights(grad: torch.Tensor, table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Gradient of `sum_rows` to its weights. grad (N, D), table (R, D), rows (N, K) -> (N, K)."""
    grad, table = grad.contiguous(), table.contiguous()
    num_bags, per_bag = rows.shape
    if table.is_cuda or table.shape[1] >= _WIDE:
        bag_of_row = torch.arange(num_bags, device=rows.device, dtype=rows.dtype)[:, None].expand(-1, per_bag)
        first = torch.arange(0, rows.numel(), per_bag, device=rows.device, dtype=rows.dtype)
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(
            grad, table, rows.reshape(-1), first, bag_of_row.reshape(-1), 0
        ).view(num_bags, per_bag)
    dim = table.shape[1]
    out = grad.new_empty((num_bags, per_bag))
    step = max(1, CPU_BUFFER_ELEMENTS // (per_bag * dim))
    buffer = grad.new_empty((min(step, num_bags) * per_bag, dim))
    for part in range(0, num_bags, step):
        index = rows[part : part + step].reshape(-1)
        samples = torch.index_select(table, 0, index, out=buffer[: index.numel()]).view(-1, per_bag, dim)
        # of the forms of this product the fastest: one row for each bag
        torch.bmm(grad[part : part + step, None], samples.mT, out=out[part : part + step, None])
    return out


def grad_table(grad: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor, num_rows: int) -> torch.Tensor:
    """Gradient of `sum_rows` to its table. grad (N, D), rows (N, K), weights (N, K) -> (num_rows, D).

    The scatter-add is done as a gather: with rows sorted, every row of the table is one bag over the
    gradients that reach it. No atomics on floats, so the result does not depend on the order of threads.
    """
    flat = rows.reshape(-1)
    order = flat.sort(stable=True).indices
    counts = torch.zeros(num_rows, dtype=torch.int32, device=flat.device)
    ends = counts.index_add_(0, flat, torch.ones_like(flat, dtype=torch.int32)).cumsum(0)
    return F.embedding_bag(
        order // rows.shape[1],
        grad.contiguous(),
        F.pad(ends, (1, 0)),
        per_sample_weights=weights.reshape(-1).index_select(0, order),  # indexing takes three times as long
        mode='sum',
        include_last_offset=True,
    )
