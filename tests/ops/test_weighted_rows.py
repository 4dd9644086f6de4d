"""Weighted sums of rows against one einsum."""

import pytest
import torch

from detrove.ops.weighted_rows import grad_table, grad_weights, sum_rows


@pytest.mark.parametrize('columns', [3, 128])
@pytest.mark.parametrize('index_dtype', [torch.int32, torch.int64])
def test_equals_einsum_and_its_gradients(index_dtype, columns):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(11, columns, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    rows = torch.randint(11, (6, 4), generator=generator, dtype=index_dtype)
    grad = torch.randn(6, columns, generator=generator, dtype=torch.float64)

    expected = torch.einsum('nk,nkd->nd', weights, table[rows.long()])
    expected.backward(grad)

    torch.testing.assert_close(sum_rows(table, rows, weights), expected)
    torch.testing.assert_close(grad_weights(grad, table.detach(), rows), weights.grad)
    torch.testing.assert_close(grad_table(grad, rows, weights.detach(), 11), table.grad)
