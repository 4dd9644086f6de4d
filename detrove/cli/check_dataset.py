"""`detrove check-dataset`: what is missing or malformed in the data of a config."""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence

from .run_options import add_cfg_options

_EPILOG = """examples:
  detrove check-dataset configs/dino/dino-4scale_r50_8xb2-12e_coco.py
  detrove check-dataset my_config.py --splits train val --images all
  detrove check-dataset my_config.py --json > findings.json

Exit status: 0 when nothing would break training or evaluation, else 1. Warnings and notes do not count.
"""
_SPLITS = ('train', 'val', 'test')
WIDTH_IN_FILES = 120


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove check-dataset',
        description='Check the data of a config: files, annotations, classes against the head, images, label maps, '
        'and images that training and evaluation share.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, or a name such as mmdet::dino/...')
    add_cfg_options(parser)
    parser.add_argument('--splits', nargs='+', choices=_SPLITS, default=_SPLITS, metavar='SPLIT',
                        help='which of train, val and test (all three)')
    parser.add_argument('--images', type=number_of_images, default=500, metavar='all|N|none',
                        help='how many image files of each data set to read, drawn evenly (500); annotation files are '
                        'always read whole, and images that training and validation share looked for unless none')
    parser.add_argument('--json', action='store_true', help='print json, for programs')
    parser.add_argument('--workers', type=_workers, default=None, metavar='N',
                        help='threads that read images (one a core, 16 at most)')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from rich.console import Console
    from rich.progress import track

    from detrove.datasets.check import Severity, as_json, check_data, print_report
    from detrove.engine.config_check import load_config

    progress = Console(stderr=True)

    def tracked(items, description, total):
        return track(items, description, total, console=progress, disable=not progress.is_terminal, transient=True)

    # What is logged on the way, such as that the sample data is drawn, does not belong to the report.
    with contextlib.redirect_stdout(sys.stderr):
        cfg = load_config(args.config, args.cfg_options)
        report = check_data(cfg, splits=args.splits, images=args.images, workers=args.workers, track=tracked)
    if args.json:
        print(json.dumps(as_json(report), indent=1))
    else:
        width = None if sys.stdout.isatty() else WIDTH_IN_FILES
        print_report(report, Console(highlight=False, width=width))
    return int(report.number(Severity.ERROR) > 0)


def number_of_images(text: str) -> int | None:
    """The value of `--images`; None for all."""
    words = {'all': None, 'none': 0}
    if text not in words and not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r} is neither all, none nor a whole number')
    return words[text] if text in words else int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least 1')
    return int(text)
