"""`detrove preflight`: what would break or spoil a training, before it starts."""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence

from .check_dataset import WIDTH_IN_FILES, number_of_images
from .run_options import add_cfg_options, positive

_EPILOG = """examples:
  detrove preflight my_config.py
  detrove preflight my_config.py --gpus 4 --gpu-memory 24
  detrove preflight my_config.py --images all --json > findings.json

Exit status: 0 when nothing would break the training or its evaluation, else 1. Warnings and notes do not count.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove preflight',
        description='Check a config before training: its settings, its data, the learning rate against the batch, '
        'which weights will load, and the memory of a step.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, or a name such as mmdet::dino/...')
    add_cfg_options(parser)
    parser.add_argument('--gpus', type=positive, default=1, metavar='N', help='processes that will train (1)')
    parser.add_argument('--gpu-memory', type=float, metavar='GB', help='memory of the GPU (that of the one here)')
    parser.add_argument('--no-memory', action='store_true',
                        help='do not predict memory, which takes passes on the CPU: seconds, or a minute for large '
                        'models')
    parser.add_argument('--images', type=number_of_images, default=500, metavar='all|N|none',
                        help='how many image files of each data set to read (500)')
    parser.add_argument('--json', action='store_true', help='print json, for programs')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from mmengine.logging import MMLogger
    from rich.console import Console
    from rich.progress import track

    from detrove.datasets.check import Severity, as_json, print_report
    from detrove.engine.config_check import load_config
    from detrove.preflight import preflight

    progress = Console(stderr=True)

    def tracked(items, description, total):
        return track(items, description, total, console=progress, disable=not progress.is_terminal, transient=True)

    with contextlib.redirect_stdout(sys.stderr):
        MMLogger.get_instance('preflight', log_level='ERROR')  # models that are only tried out have nothing to tell
        cfg = load_config(args.config, args.cfg_options)
        if cfg.get('work_dir') is None:
            cfg.work_dir = 'work_dirs'
        report = preflight(
            cfg, images=args.images, num_processes=args.gpus, memory=not args.no_memory, track=tracked,
            available_bytes=None if args.gpu_memory is None else int(args.gpu_memory * 2**30))
    if args.json:
        print(json.dumps(as_json(report), indent=1))
    else:
        print_report(report, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_IN_FILES))
    return int(report.number(Severity.ERROR) > 0)
