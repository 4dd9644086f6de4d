"""`detrove browse-dataset`: see what training gets, beside what lies on the disk."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from .run_options import add_cfg_options, positive

_EPILOG = """examples:
  detrove browse-dataset my_config.py
  detrove browse-dataset my_config.py --split val --number 200 --out look

Then open index.html of the folder in a browser; it needs nothing else.
"""
_PAGE, _LIST = 'index.html', 'browse.json'


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove browse-dataset',
        description='Draw images as training gets them, after augmentation, with boxes, masks, label maps and names, '
        'beside their originals: as files, and as one HTML page.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, or a name such as mmdet::dino/...')
    add_cfg_options(parser)
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train', help='which data set (train)')
    parser.add_argument('--number', type=positive, default=48, metavar='N',
                        help='how many images, taken evenly from the whole set (48)')
    parser.add_argument('--seed', type=int, default=0, help='of the augmentation (0)')
    parser.add_argument('--out', metavar='DIR', help='where to (./work_dirs/CONFIG_NAME/browse_SPLIT)')
    parser.add_argument('--force', action='store_true', help='write into a folder that holds other files too')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from rich.console import Console
    from rich.progress import track

    from detrove.datasets.browse import draw_samples, write_page
    from detrove.engine.config_check import load_config

    cfg = load_config(args.config, args.cfg_options)
    name = Path(cfg.filename).stem
    folder = Path(args.out or Path('work_dirs') / name / f'browse_{args.split}')
    prepare_folder(folder, force=args.force)
    console = Console(stderr=True)
    drawn = draw_samples(cfg, folder, split=args.split, number=args.number, seed=args.seed)
    pictures = []
    files = [_PAGE, _LIST]
    for picture in track(drawn, 'drawing', args.number, console=console, disable=not console.is_terminal,
                         transient=True):
        pictures.append(picture)
        files += [picture.original.name, picture.augmented.name]
        (folder / _LIST).write_text(json.dumps(files))  # also when it is interrupted
    write_page(pictures, folder / _PAGE, title=f'{name}: {args.split}', subtitle=_subtitle(cfg, args))
    print(f'{len(pictures)} images drawn, open {folder / _PAGE}')
    return 0


def prepare_folder(folder: Path, *, force: bool) -> None:
    """Make a folder, or empty it of what an earlier call wrote.

    Raises:
        FileExistsError: If it holds other files, without `force`; if it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f'--out {folder}: this is a file; name a folder')
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / _LIST
    try:
        ours = set(json.loads(listing.read_text())) if listing.is_file() else set()
    except (ValueError, TypeError):
        ours = set()
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if foreign and not force:
        raise FileExistsError(f'--out {folder}: this folder holds other files ({", ".join(foreign[:3])}'
                              f'{", ..." if len(foreign) > 3 else ""}). Name another one, or pass --force to write '
                              'beside them.')
    for path in folder.iterdir():
        if path.name in ours and path.is_file():
            path.unlink()


def _subtitle(cfg, args) -> str:
    from detrove.datasets.wrappers import innermost_settings

    settings = innermost_settings(cfg[f'{args.split}_dataloader'].dataset)
    steps = ' > '.join(str(one['type']).rpartition('.')[2] for one in settings.get('pipeline') or ())
    return f'Pipeline: {steps}. Seed {args.seed}. What is done to whole batches is not shown.'
