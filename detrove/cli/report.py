"""`detrove report`: one HTML file about a trained model, or about several side by side."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .run_options import CfgOptions

_EPILOG = """examples:
  detrove report work_dirs/rtdetr_nano_shapes
  detrove report work_dirs/first work_dirs/second --out comparison.html
  detrove report results.json --config configs/rt_detr/rtdetr_nano_shapes.py

docs/report.md says how to read it.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove report',
        description='Write one HTML file about a trained model: what it finds, what it misses and why. With several '
        'runs, compare them with the first.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('runs', nargs='+', metavar='RUN', help='work directory of a training, or a file that '
                        '`detrove test --out` wrote')
    parser.add_argument('--out', metavar='FILE', help='HTML file to write (report.html in the first work directory, or '
                        'beside the file)')
    parser.add_argument('--config', help='config file whose test set counts; needed for files, for work directories '
                        'their own')
    parser.add_argument('--masks', action='store_true', help='match instances by masks, not by boxes')
    parser.add_argument('--resamples', type=_at_least_two, metavar='N',
                        help='how often the images are resampled for the intervals (1000)')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE',
                        help='change settings of the configs, e.g. test_dataloader.num_workers=4')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)

    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from detrove.report import write_report
    from detrove.report.bootstrap import NUM_RESAMPLES
    from detrove.report.run import find_runs

    runs = find_runs(args.runs, config=args.config, cfg_options=args.cfg_options)
    first = Path(args.runs[0]).expanduser()
    out = args.out or (first / 'report.html' if first.is_dir() else first.with_suffix('.html'))
    written = write_report(runs, out, masks=args.masks, num_resamples=args.resamples or NUM_RESAMPLES)
    print(f'report: {written}')
    return 0


def _at_least_two(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least 2')
    return int(text)
