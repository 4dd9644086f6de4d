"""`python -m detrove.benchmark.operators`: detrove's operators against their plain forms, on the CPU or on a GPU."""

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import nn

from detrove.layers import MSDeformableAttention, use_channels_last
from detrove.layers.memory import Memory, flatten_levels
from detrove.ops.neighborhood_attention import neighborhood_attention, neighborhood_attention_reference

from .measure import measure
from .report import as_table

#: (side of the map, heads, dilation): stage 1 of NAT and DiNAT on 640 x 640 images, stage 3 of NAT
NEIGHBORHOODS = ((160, 2, 1), (160, 2, 8), (40, 8, 1))
KERNEL_SIZE, HEAD_DIM = 7, 32
#: (channels of input and output, side of the map, stride): 3x3 convolutions of RT-DETR on one image of 640 x 640
CONVOLUTIONS = ((64, 64, 160, 1), (128, 128, 80, 1), (256, 256, 80, 1), (256, 256, 40, 1), (512, 512, 20, 1),
                (32, 64, 320, 1), (64, 128, 160, 2), (256, 256, 80, 2))

#: (queries, sides of the levels' maps): decoders in inference and, with denoising queries, in training
CROSS_ATTENTIONS = ((300, (80, 40, 20)), (500, (80, 40, 20)), (500, (60, 30, 15)), (1100, (128, 64, 32, 16)),
                    (1100, (60, 30, 15, 8)))


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


def convolution_contestants(inputs: int, outputs: int, side: int, stride: int) -> list[OperatorContestant]:
    """PyTorch's 3x3 convolution in either layout, and the form of a fused, or training, model."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    images = torch.randn(1, inputs, side, side)
    contestants = []
    for name, layout in (('first', torch.contiguous_format), ('last', torch.channels_last)):
        module = copy.deepcopy(convolution).to(memory_format=layout)
        tensors = [images.to(memory_format=layout).requires_grad_(), module.weight]
        contestants.append(OperatorContestant(f'torch, channels {name}', _without_weight(module), tensors))
    ours = use_channels_last(convolution, on_cpu=True)
    ours.prepare_for_inference()
    tensors = [images.to(memory_format=torch.channels_last).requires_grad_(), ours.weight]
    return [*contestants, OperatorContestant('CPUConv2d', _without_weight(ours), tensors)]


def cross_attention_contestants(queries: int, sides: Sequence[int]) -> list[OperatorContestant]:
    """A decoder layer's deformable attention, which projects all tokens, or the samples that it takes.

    What the second form makes once for all layers is made here for its one layer.
    """
    torch.manual_seed(0)
    attention = MSDeformableAttention(num_levels=len(sides))
    nn.init.normal_(attention.sampling_offsets.weight, std=0.02)
    levels = flatten_levels([torch.randn(1, 256, side, side) for side in sides])
    inputs = [tensor.requires_grad_() for tensor in (levels.tokens, torch.randn(1, queries, 256),
                                                     torch.rand(1, queries, 4))]

    def of(prepared):
        return lambda tokens, query, reference, *parameters: attention(query, reference,
                                                                       prepared(levels.with_tokens(tokens)))

    return [OperatorContestant(name, of(prepared), [*inputs, *attention.parameters()])
            for name, prepared in (('tokens projected', lambda memory: memory), ('samples projected', Memory.with_one))]


def _without_weight(module: nn.Module) -> Callable[..., torch.Tensor]:
    """The module as a function of an input and the weight that it has."""
    return lambda x, weight: module(x)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for every case. Times on the CPU are CPU time, which other processes disturb least."""
    parser = argparse.ArgumentParser(prog='python -m detrove.benchmark.operators', description=__doc__)
    parser.add_argument('--rounds', type=int, default=10, help='timed runs of each contestant, in turn')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--only', metavar='TEXT', help='cases whose titles hold this, such as convolution')
    args = parser.parse_args(argv)
    is_cpu = torch.device(args.device).type == 'cpu'
    cases = [('neighborhood attention, {0} x {0}, {1} heads, dilation {2}'.format(*case),
              partial(neighborhood_contestants, *case, args.device)) for case in NEIGHBORHOODS]
    if is_cpu:
        cases += [('3x3 convolution, {0} to {1} channels, {2} x {2}, stride {3}'.format(*case),
                   partial(convolution_contestants, *case)) for case in CONVOLUTIONS]
        cases += [('cross-attention, {} queries, levels with sides of {}'.format(*case),
                   partial(cross_attention_contestants, *case)) for case in CROSS_ATTENTIONS]
    for title, contestants in cases:
        if args.only and args.only not in title:
            continue
        results = measure(contestants(), rounds=args.rounds, clock=time.process_time if is_cpu else time.perf_counter)
        print(f'\n{title}\n\n{as_table(results)}', flush=True)


if __name__ == '__main__':
    main()
