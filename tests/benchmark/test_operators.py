"""The table of operators: every contestant does the work, and the fast one keeps and needs less memory."""

import torch

from detrove.benchmark import operators
from detrove.benchmark.measure import measure


def test_prints_a_table_for_every_case(monkeypatch, capsys):
    monkeypatch.setattr(operators, 'NEIGHBORHOODS', ((14, 1, 2),))
    monkeypatch.setattr(operators, 'CONVOLUTIONS', ((64, 64, 24, 1),))
    monkeypatch.setattr(operators, 'CROSS_ATTENTIONS', ((5, (8, 4)),))
    operators.main(['--rounds', '1'])
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    title, head, _, reference, fast = lines[:5]
    assert lines[5] == '3x3 convolution, 64 to 64 channels, 24 x 24, stride 1'
    assert [line.split()[1] for line in lines[8:11]] == ['torch,', 'torch,', 'CPUConv2d']
    assert lines[11] == 'cross-attention, 5 queries, levels with sides of (8, 4)'
    assert [line.split()[1] for line in lines[14:]] == ['tokens', 'samples']
    assert title == 'neighborhood attention, 14 x 14, 1 heads, dilation 2'
    assert head.endswith('| saved for backward (MiB) | ratio | peak memory (MiB) | ratio |')
    assert reference.startswith('| windows gathered |')
    assert fast.startswith('| detrove.ops |')


def test_prints_the_cases_that_are_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(operators, 'CONVOLUTIONS', ((8, 9, 6, 1), (9, 8, 6, 2)))
    operators.main(['--rounds', '1', '--only', '9 to 8 channels'])
    assert capsys.readouterr().out.count('convolution') == 1


def test_contestants_agree_and_are_counted_alike():
    reference, fast = operators.neighborhood_contestants(28, 2, 1, 'cpu')
    torch.testing.assert_close(fast.function(*fast.arguments), reference.function(*reference.arguments))
    results = measure([reference, fast], rounds=1, warmup=1)
    assert results[0].flops == results[1].flops == 4 * 28**2 * 2 * 49 * operators.HEAD_DIM
    assert results[1].saved_bytes < results[0].saved_bytes / 10
    assert results[1].peak_bytes < results[0].peak_bytes / 3


def test_both_forms_of_cross_attention_give_the_same():
    projected, sampled = operators.cross_attention_contestants(20, (16, 8))
    for tensor, other in zip(projected.arguments, sampled.arguments, strict=True):
        assert torch.equal(tensor, other)
    torch.testing.assert_close(sampled.function(*sampled.arguments), projected.function(*projected.arguments),
                               rtol=1e-4, atol=1e-4)
