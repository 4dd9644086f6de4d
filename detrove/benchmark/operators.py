"""`python -m detrove.benchmark.operators`: detrove's operators against their plain forms, on the CPU or on a GPU."""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from detrove.ops.neighborhood_attention import neighborhood_attention, neighborhood_attention_reference

from .measure import measure
from .report import as_table

#: (side of the map, heads, dilation): stage 1 of NAT and DiNAT on 640 x 640 images, stage 3 of NAT
NEIGHBORHOODS = ((160, 2, 1), (160, 2, 8), (40, 8, 1))
KERNEL_SIZE, HEAD_DIM = 7, 32


class OperatorContestant:
    """An operator that takes the place of a `Contestant` in `measure`; a training step is a forward and a backward.

    Args:
        name: shown in the report.
        function: of the inputs.
        inputs: tensors that require gradients.
    """

    num_parameters = 0

    def __init__(self, name: str, function: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor]):
        self.name, self.function, self.arguments = name, function, inputs
        self.inputs, self.model = inputs[0], nn.Module()

    def train_parts(self) -> Iterator[str]:
        out = self.function(*self.arguments)
        yield 'forward'
        torch.autograd.grad(out, self.arguments, torch.ones_like(out))
        yield 'backward'

    @torch.no_grad()
    def predict_parts(self) -> Iterator[str]:
        self.function(*self.arguments)
        yield 'forward'


def neighborhood_contestants(side: int, heads: int, dilation: int, device: str) -> list[OperatorContestant]:
    """The reference, which gathers windows, and the fast path, with bias."""
    shapes = [(1, side, side, heads, HEAD_DIM)] * 3 + [(heads, 2 * KERNEL_SIZE - 1, 2 * KERNEL_SIZE - 1)]
    torch.manual_seed(0)
    inputs = [torch.randn(shape, device=device, requires_grad=True) for shape in shapes]

    def of(function):
        return lambda query, key, value, bias: function(query, key, value, KERNEL_SIZE, dilation, bias)

    return [
        OperatorContestant('windows gathered', of(neighborhood_attention_reference), inputs),
        OperatorContestant('detrove.ops', of(neighborhood_attention), inputs),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for every case. Times on the CPU are CPU time, which other processes disturb least."""
    parser = argparse.ArgumentParser(prog='python -m detrove.benchmark.operators', description=__doc__)
    parser.add_argument('--rounds', type=int, default=10, help='timed runs of each contestant, in turn')
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args(argv)
    is_cpu = torch.device(args.device).type == 'cpu'
    for case in NEIGHBORHOODS:
        contestants = neighborhood_contestants(*case, args.device)
        results = measure(contestants, rounds=args.rounds, clock=time.process_time if is_cpu else time.perf_counter)
        print('\nneighborhood attention, {0} x {0}, {1} heads, dilation {2}\n'.format(*case))
        print(as_table(results), flush=True)


if __name__ == '__main__':
    main()
