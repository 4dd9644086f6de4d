"""The comparison with mmdet's head is one of equal results."""

import torch

from detrove.benchmark import Workload, matching


def test_contestants_compute_the_same_losses_and_gradients():
    predictions = matching.Predictions(Workload((64, 64), batch=2, objects=3), num_layers=2, num_queries=30)
    peer, ours = predictions.contestants()
    totals, grads = zip(*((total := x.function(*x.arguments), torch.autograd.grad(total, x.arguments))
                          for x in (peer, ours)), strict=True)
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-5, atol=0)
    noised = predictions.denoising.branch.num_queries
    for of_peer, of_ours in zip(grads[0][:2], grads[1][:2], strict=True):
        torch.testing.assert_close(torch.cat([of_peer[:, :, noised:], of_peer[:, :, :noised]], 2), of_ours)
    for of_peer, of_ours in zip(grads[0][2:], grads[1][2:], strict=True):
        torch.testing.assert_close(of_peer, of_ours[0])


def test_prints_a_table(capsys):
    matching.main(['--batch', '2', '--objects', '2', '--layers', '1', '--queries', '20', '--rounds', '1'])
    shown = capsys.readouterr().out
    assert "| mmdet's DINOHead |" in shown and '| detrove |' in shown and 'training step (ms)' in shown
