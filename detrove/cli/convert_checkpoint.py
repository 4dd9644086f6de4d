"""`detrove convert-checkpoint`: a paper's official checkpoint as one for a config."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove convert-checkpoint',
        description="Turn a checkpoint of a paper's official repository into one for a config. "
        'Training, testing and init_model do the same by themselves when they are handed the official file.',
    )
    parser.add_argument('src', metavar='SRC', help='official checkpoint file')
    parser.add_argument('dst', metavar='DST', help='file to write')
    parser.add_argument('--config', required=True, help='config file of the model')
    parser.add_argument('--force', action='store_true', help='replace DST if it exists')
    parser.add_argument(
        '--allow-unsafe-checkpoint',
        action='store_true',
        help='also read a file that runs code when opened; only from people you trust',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    src, dst = Path(args.src).expanduser(), Path(args.dst).expanduser()
    if not src.is_file():
        raise FileNotFoundError(f'checkpoint not found: {src.absolute()}')
    if dst.exists() and not args.force:
        raise FileExistsError(f'{dst} exists. Choose another name, or pass --force to replace it.')

    from detrove.checkpoints import convert_file
    from detrove.engine.config_file import find_config

    # Written beside DST first, so that a failure leaves what was there.
    written = dst.with_name(f'{dst.name}.partial')
    try:
        layout = convert_file(src, written, find_config(args.config), allow_unsafe=args.allow_unsafe_checkpoint)
        written.replace(dst)
    finally:
        written.unlink(missing_ok=True)
    print(f'{dst}: converted from {layout}')
    return 0
