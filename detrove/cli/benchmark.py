"""`detrove benchmark`: configs measured side by side."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from .run_options import CfgOptions


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove benchmark',
        description='Measure models side by side on generated images: parameters, operations, time of inference and of '
        'training steps by parts, memory. The models take turns, so that what disturbs the machine disturbs all. '
        'Ratios are to the first.',
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config files, or names such as mmdet::dino/...')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE',
                        help='settings to change in every config')
    parser.add_argument('--size', nargs=2, type=int, default=(640, 640), metavar=('HEIGHT', 'WIDTH'),
                        help='of the images (default: 640 640)')
    parser.add_argument('--batch', type=int, default=1, help='images in a step (default: 1)')
    parser.add_argument('--objects', type=int, default=8, help='objects in an image (default: 8)')
    parser.add_argument('--rounds', type=int, default=10, help='timed steps of each model (default: 10)')
    parser.add_argument('--warmup', type=int, default=2, help='steps before that, at least 1 (default: 2)')
    parser.add_argument('--only', choices=['train', 'predict'], help='measure only that')
    parser.add_argument('--device', default=None, help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--amp', action='store_true', help='in bfloat16 where autocast uses it')
    parser.add_argument('--compile', action='store_true', help='with torch.compile')
    parser.add_argument('--json', metavar='FILE', help='also write every single time to this file')
    parser.add_argument('--force', action='store_true', help='replace FILE if it exists')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    for name in ('batch', 'rounds', 'warmup'):
        if getattr(args, name) < 1:
            raise ValueError(f'--{name} {getattr(args, name)} must be at least 1')
    if args.json and Path(args.json).exists() and not args.force:
        raise FileExistsError(f'{args.json} exists. Choose another name, or pass --force to replace it.')

    import torch
    from mmengine.logging import MMLogger
    from rich.console import Console
    from rich.progress import Progress

    from detrove.benchmark import Contestant, as_json, as_table, measure
    from detrove.benchmark.contestant import Workload
    from detrove.benchmark.report import environment
    from detrove.engine.config_check import load_config

    MMLogger.get_current_instance().setLevel('WARNING')  # building optimisers lists their groups
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    workload = Workload(tuple(args.size), args.batch, args.objects, device, args.amp)
    contestants = [
        Contestant(Path(name).stem, load_config(name, args.cfg_options), workload, compile_model=args.compile)
        for name in args.configs
    ]
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        phases = 1 if args.only else 2
        task = progress.add_task('measuring', total=phases * (args.warmup + args.rounds))
        results = measure(contestants, rounds=args.rounds, warmup=args.warmup, train=args.only != 'predict',
                          predict=args.only != 'train', progress=lambda: progress.advance(task))
    described = ', '.join(f'{key} {value}' for key, value in environment(workload).items())
    print(f'{args.batch} x {args.size[0]} x {args.size[1]}, {args.objects} objects an image; {described}\n')
    print(as_table(results))
    if args.json:
        Path(args.json).write_text(json.dumps(as_json(results, workload), indent=1))
    return 0
