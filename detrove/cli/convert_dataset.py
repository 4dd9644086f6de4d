"""`detrove convert-dataset`: turn a VOC or YOLO folder into COCO json, or cut a COCO data set into tiles."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from detrove.datasets.convert import Conversion, read, read_class_file, write

SHOWN_PROBLEMS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', type=Path, help='folder of the data set')
    parser.add_argument(
        '--format', choices=('auto', 'voc', 'yolo'), default='auto', help='layout of the folder'
    )
    parser.add_argument('--out', type=Path, help='where the json files go (default: SOURCE/coco)')
    parser.add_argument(
        '--classes',
        metavar='NAMES',
        help='names separated by commas, or a file with one a line (default: those of the data set)',
    )
    parser.add_argument('--force', action='store_true', help='write over existing json files')
    parser.add_argument(
        '--skip-bad', action='store_true', help='leave out what cannot be read instead of failing'
    )


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ['tiles']:
        from detrove.cli import cut_dataset

        return cut_dataset.main(words[1:])
    parser = argparse.ArgumentParser(
        prog='detrove convert-dataset',
        description='Turn a VOC or YOLO data set into COCO json. Images stay where they are.',
        epilog='detrove convert-dataset tiles ANN_FILE --images DIR --out DIR --tile PIXELS cuts a COCO data set into '
        'tiles (convert-dataset tiles --help); a folder of this name is ./tiles.',
    )
    add_arguments(parser)
    args = parser.parse_args(words)
    conversion = read(args.source, layout=args.format, classes=_classes(args.classes), show_progress=True)
    if conversion.problems:
        for problem in conversion.problems[:SHOWN_PROBLEMS]:
            print(problem, file=sys.stderr)
        if len(conversion.problems) > SHOWN_PROBLEMS:
            print(f'... and {len(conversion.problems) - SHOWN_PROBLEMS} more', file=sys.stderr)
        if not args.skip_bad:
            raise ValueError(
                f'{len(conversion.problems)} entries of {args.source} cannot be read, nothing was written. '
                f'Mend them, or leave them out with --skip-bad.'
            )
        print(f'left out {len(conversion.problems)} entries', file=sys.stderr)
    paths = write(conversion, args.out or args.source / 'coco', force=args.force)
    _summarise(conversion, paths)
    return 0


def _classes(argument: str | None) -> list[str] | None:
    if argument is None:
        return None
    if Path(argument).is_file():
        return read_class_file(Path(argument))
    return [name.strip() for name in argument.split(',') if name.strip()]


def _summarise(conversion: Conversion, paths: list[Path]) -> None:
    for path, (split, images) in zip(paths, conversion.splits.items(), strict=True):
        objects = [item for image in images for item in image.objects]
        ignored = sum(item.ignored for item in objects)
        print(
            f'{path}: {split}, {len(images)} images '
            f'({sum(not image.objects for image in images)} without objects), {len(objects)} objects'
            + (f' ({ignored} difficult, ignored)' if ignored else '')
        )
    ann_file = paths[0].resolve()
    if ann_file.is_relative_to(conversion.root.resolve()):
        ann_file = ann_file.relative_to(conversion.root.resolve())
    # The json names images relative to the folder of the data set.
    print(
        f"\nIn a config: dict(type='CocoDetection', data_root={str(conversion.root)!r}, "
        f"ann_file={str(ann_file)!r}, data_prefix=dict(img=''), "
        f'metainfo=dict(classes={tuple(conversion.classes)!r}))'
    )
