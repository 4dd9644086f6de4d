"""`detrove convert-dataset tiles`: cut a COCO data set into tiles."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from detrove.datasets.convert_tiles import TileSettings, cut_dataset


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove convert-dataset tiles',
        description='Cut the images of a COCO data set into overlapping tiles, their boxes and masks with them, to '
        'train on small objects of large images. `detrove test --tile` evaluates on the whole images.')
    parser.add_argument('ann_file', type=Path, metavar='ANN_FILE', help='COCO json')
    parser.add_argument('--images', type=Path, required=True, metavar='DIR', help='folder of its images')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='new data set: images/ and a json file '
                        'of the same name')
    parser.add_argument('--tile', type=int, required=True, metavar='PIXELS', help='side of a tile')
    parser.add_argument('--overlap', type=float, default=0.2, metavar='S',
                        help="share of a tile's side that its neighbour has too (0.2)")
    parser.add_argument('--min-share', type=float, default=0.3, metavar='S',
                        help='objects of which a tile shows less are marked iscrowd there: neither object nor '
                        'mistake (0.3)')
    parser.add_argument('--drop-empty', action='store_true', help='leave out tiles without an object')
    parser.add_argument('--force', action='store_true', help='write over an existing json file and its images')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    settings = TileSettings(args.tile, args.overlap, args.min_share, args.drop_empty)
    written = cut_dataset(args.ann_file, args.images, args.out, settings, force=args.force, show_progress=True)
    content = json.loads(written.read_text(encoding='utf-8'))
    ignored = sum(annotation['iscrowd'] for annotation in content['annotations'])
    classes = tuple(category['name'] for category in content['categories'])
    print(f'{written}: {len(content["images"])} tiles, {len(content["annotations"]) - ignored} objects, {ignored} '
          f'ignored\n\nIn a config: dict(type=\'CocoDetection\', data_root={str(args.out)!r}, '
          f'ann_file={written.name!r}, data_prefix=dict(img=\'images\'), metainfo=dict(classes={classes!r}))')
    return 0
