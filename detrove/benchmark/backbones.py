"""`python -m detrove.benchmark.backbones`: this project's backbones beside those of other libraries.

transformers is measured where it is installed, its DiNAT where natten is too. No library has CSWin.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import timm
import torch
from mmdet.models.backbones import SwinTransformer as MMDetSwin
from mmengine.registry import MODELS
from mmpretrain.models.backbones import SwinTransformer as MMPretrainSwin
from torch import nn

import detrove.projects  # noqa: F401  registers the backbones

from .measure import measure
from .report import as_table

DROP_PATH = 0.2


class BackboneContestant:
    """A backbone that takes the place of a `Contestant` in `measure`; a training step is a forward and a backward.

    Args:
        name: shown in the report.
        build: makes the network; its weights do not matter.
        size: side of the images.
        batch: images.
        device: where.
    """

    def __init__(self, name: str, build: Callable[[], nn.Module], *, size: int, batch: int, device: str):
        self.name = name
        torch.manual_seed(0)
        self.model = build().to(device)
        self.inputs = torch.rand(batch, 3, size, size, device=device)
        self.num_parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def train_parts(self) -> Iterator[str]:
        self.model.train()  # returns nothing in mmdet
        self.model.zero_grad()
        maps = self.model(self.inputs)
        yield 'forward'
        torch.autograd.backward(maps, [torch.ones_like(x) for x in maps])
        yield 'backward'

    @torch.no_grad()
    def predict_parts(self) -> Iterator[str]:
        self.model.eval()
        self.model(self.inputs)
        yield 'forward'


def _ours(name: str) -> Callable[[], nn.Module]:
    return lambda: MODELS.build(dict(type=name, arch='tiny', drop_path_rate=DROP_PATH))


def _timm_swin() -> nn.Module:
    return timm.create_model('swin_tiny_patch4_window7_224', features_only=True, strict_img_size=False,
                             drop_path_rate=DROP_PATH)


def _of_transformers(name: str) -> nn.Module:
    """A backbone of transformers that gives its maps, as the others do."""
    import transformers  # takes seconds, and other families do without it

    class Maps(getattr(transformers, f'{name}Backbone')):
        def forward(self, images):
            return super().forward(images).feature_maps

    stages = [f'stage{number}' for number in range(1, 5)]
    return Maps(getattr(transformers, f'{name}Config')(drop_path_rate=DROP_PATH, out_features=stages))


#: family -> name -> network. The maps of mmdet, mmpretrain and ours end in norms, which timm's have not.
FAMILIES: dict[str, dict[str, Callable[[], nn.Module]]] = {
    'Swin': {
        'detrove': _ours('Swin'),
        'timm': _timm_swin,
        'mmdet': lambda: MMDetSwin(drop_path_rate=DROP_PATH),
        'mmpretrain': lambda: MMPretrainSwin('tiny', drop_path_rate=DROP_PATH, out_indices=(0, 1, 2, 3)),
    },
    'CSWin': {'detrove': _ours('CSWin')},
    'DiNAT': {'detrove': _ours('DiNAT')},
}
for _family, _name, _needs in (('Swin', 'Swin', ['transformers']), ('DiNAT', 'Dinat', ['transformers', 'natten'])):
    if all(map(importlib.util.find_spec, _needs)):
        FAMILIES[_family]['transformers'] = partial(_of_transformers, _name)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for every family. Times on the CPU are CPU time, which other processes disturb least."""
    parser = argparse.ArgumentParser(prog='python -m detrove.benchmark.backbones',
                                     description=__doc__.partition('\n')[0])
    parser.add_argument('families', nargs='*', metavar='FAMILY', help=f'of {", ".join(FAMILIES)}; default: all')
    parser.add_argument('--rounds', type=int, default=10, help='timed runs of each contestant, in turn')
    parser.add_argument('--predict-size', type=int, default=640, help='side of the one image of a forward pass')
    parser.add_argument('--train-size', type=int, default=448, help='side of the images of a training step')
    parser.add_argument('--train-batch', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args(argv)
    if unknown := set(args.families) - set(FAMILIES):
        parser.error(f'no family {", ".join(sorted(unknown))}; there are {", ".join(FAMILIES)}')
    is_cpu = torch.device(args.device).type == 'cpu'
    for family in args.families or FAMILIES:
        for is_train, size, batch in ((False, args.predict_size, 1), (True, args.train_size, args.train_batch)):
            contestants = [BackboneContestant(name, build, size=size, batch=batch, device=args.device)
                           for name, build in FAMILIES[family].items()]
            results = measure(contestants, rounds=args.rounds, train=is_train, predict=not is_train,
                              clock=time.process_time if is_cpu else time.perf_counter)
            print(f'\n{family}-T, {size} x {size}, {batch} {"images" if batch > 1 else "image"}\n')
            print(as_table(results), flush=True)


if __name__ == '__main__':
    main()
