"""`detrove benchmark`: models measured side by side."""

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from .run_options import CfgOptions

_EPILOG = """a contestant is one of
  configs/rt_detr/rtdetr_r18vd_8xb2-72e_coco.py   a config: detector, segmentor, classifier or backbone
  mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py    a config that comes with mmdet, mmseg or mmpretrain
  transformers:rtdetr_r18vd                       a model of transformers, if that is installed
  timm:swin_tiny_patch4_window7_224               a backbone of timm, if that is installed
  official.py:rtdetr_r18                          a function that gives any model, see docs/performance.md
NAME=CONTESTANT shows it as NAME.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove benchmark',
        description='Measure models side by side on generated images: parameters, operations, time of inference and of '
        'training steps by parts, memory. The models take turns, so that what disturbs the machine disturbs all. '
        'Ratios are to the first.',
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('contestants', nargs='+', metavar='CONTESTANT', help='see below')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE',
                        help='settings to change in every config')
    parser.add_argument('--size', nargs=2, type=int, default=(640, 640), metavar=('HEIGHT', 'WIDTH'),
                        help='of the images (default: 640 640)')
    parser.add_argument('--batch', type=int, default=1, help='images in a step (default: 1)')
    parser.add_argument('--objects', type=int, default=8, help='objects in an image (default: 8)')
    parser.add_argument('--rounds', type=int, default=10, help='timed steps of each model (default: 10)')
    parser.add_argument('--warmup', type=int, default=2, help='rounds before that, at least 1 (default: 2)')
    parser.add_argument('--only', choices=['train', 'predict'], help='measure only that')
    parser.add_argument('--no-data', action='store_true', help="leave the configs' training pipelines out")
    parser.add_argument('--device', default=None, help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--precision', choices=['fp32', 'bf16', 'fp16'], default='fp32',
                        help='of what autocast computes in half precision (default: fp32)')
    parser.add_argument('--compile', nargs='?', const='default', metavar='MODE', dest='compile_mode',
                        help='with torch.compile; MODE is reduce-overhead (CUDA graphs), max-autotune, ...')
    parser.add_argument('--fuse', action='store_true',
                        help='inference with norms folded into convolutions, or what else a model does to be deployed')
    parser.add_argument('--backbone-only', action='store_true', help="measure the configs' backbones alone")
    parser.add_argument('--mmcv-attention', action='store_true',
                        help="models of mmdet with mmcv's own deformable attention instead of detrove's operator")
    parser.add_argument('--clock', choices=['wall', 'cpu'], default='wall',
                        help='cpu: time of all threads, which other processes disturb least (default: wall)')
    parser.add_argument('--grow', metavar='KEY=N,N,...',
                        help='measure for each value of size, batch, objects, queries, groups, or a key of the configs')
    parser.add_argument('--plot', metavar='FILE', help='with --grow: also draw it, as .png or .svg')
    parser.add_argument('--json', metavar='FILE', help='also write every single time to this file')
    parser.add_argument('--force', action='store_true', help='replace files that exist')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    _check(args)

    import torch
    from mmengine.logging import MMLogger
    from rich.console import Console
    from rich.progress import Progress

    from detrove.benchmark import Workload
    from detrove.benchmark.peers import mmcv_deformable_attention
    from detrove.benchmark.report import environment

    MMLogger.get_current_instance().setLevel('WARNING')  # building optimisers lists their groups
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    workload = Workload(tuple(args.size), args.batch, args.objects, device, args.precision)
    console = Console(stderr=True)
    attention = mmcv_deformable_attention() if args.mmcv_attention else nullcontext()
    with Progress(console=console, disable=not console.is_terminal) as progress, attention:
        (_grow if args.grow else _compare)(args, workload, progress)
    print('\n' + ', '.join(f'{key} {value}' for key, value in environment(workload).items()))
    return 0


def _check(args: argparse.Namespace) -> None:
    for name in ('batch', 'rounds', 'warmup'):
        if getattr(args, name) < 1:
            raise ValueError(f'--{name} {getattr(args, name)} must be at least 1')
    if args.objects < 0:
        raise ValueError(f'--objects {args.objects} must not be negative')
    if args.plot and not args.grow:
        raise ValueError('--plot draws what --grow measures; add e.g. --grow queries=100,300,900')
    for path in (args.json, args.plot):
        if path and Path(path).exists() and not args.force:
            raise FileExistsError(f'{path} exists. Choose another name, or pass --force to replace it.')


def _compare(args: argparse.Namespace, workload, progress) -> None:
    from detrove.benchmark import as_json, as_table
    from detrove.benchmark.report import notes

    results = _measure(args, workload, args.contestants, [args.cfg_options] * len(args.contestants), progress)
    print(_describe(args, workload) + '\n')
    print(as_table(results, workload.batch))
    for note in notes(results):
        print(note)
    if args.json:
        Path(args.json).write_text(json.dumps(as_json(results, workload, vars(args)), indent=1))


def _grow(args: argparse.Namespace, workload, progress) -> None:
    from detrove.benchmark.growth import grown, growth_json, growth_table, parse_growth, plot_growth

    key, values = parse_growth(args.grow)
    cases = [(value, *grown(key, value, args.contestants, workload, args.cfg_options)) for value in values]
    points = [(value, _measure(args, changed, args.contestants, options, progress))
              for value, changed, options in cases]
    print(_describe(args, workload) + f', but {key} as it grows\n')
    print(growth_table(key, points, workload.batch))
    if args.plot:
        plot_growth(key, points, Path(args.plot))
    if args.json:
        Path(args.json).write_text(json.dumps(growth_json(key, points, workload, vars(args)), indent=1))


def _measure(args, workload, words, cfg_options, progress) -> list:
    from detrove.benchmark import line_up, measure

    contestants = [
        contestant for word, options in zip(words, cfg_options, strict=True)
        for contestant in line_up([word], workload, cfg_options=options, compile_mode=args.compile_mode,
                                  data=not args.no_data and args.only != 'predict', fuse=args.fuse,
                                  backbone_only=args.backbone_only)]
    phases = 1 if args.only else 2
    task = progress.add_task('measuring', total=phases * (args.warmup + args.rounds))
    return measure(contestants, rounds=args.rounds, warmup=args.warmup, train=args.only != 'predict',
                   predict=args.only != 'train', progress=lambda: progress.advance(task),
                   clock=time.process_time if args.clock == 'cpu' else time.perf_counter)


def _describe(args: argparse.Namespace, workload) -> str:
    height, width = workload.size_hw
    options = [workload.precision, f'{args.clock} time']
    if args.compile_mode:
        options.append(f'compiled ({args.compile_mode})')
    if args.fuse:
        options.append('fused for inference')
    return f'{workload.batch} x {height} x {width}, {workload.objects} objects an image, ' + ', '.join(options)
