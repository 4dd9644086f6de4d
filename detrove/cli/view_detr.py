"""`tools/analysis/view_detr.py`: follow one detection through a DETR's decoder."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .run_options import add_cfg_options

_EPILOG = """examples:
  view_detr.py CONFIG CHECKPOINT photo.jpg
  view_detr.py CONFIG CHECKPOINT 12 --detection 3 --out third.html
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='view_detr.py',
        description='One page about one detection: its score and rank after each decoder layer, where it looked, which '
        'queries it is related to, and what taught it.',
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', metavar='CONFIG')
    parser.add_argument('checkpoint', metavar='CHECKPOINT')
    parser.add_argument('image', metavar='IMAGE', help='a file; or a number: that image of the validation set, from 0, '
                        'whose annotations then show what a training step teaches')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--detection', type=int, default=0, metavar='N', help='from 0 for the best scored (0)')
    which.add_argument('--query', type=int, metavar='Q', help='a query of the last layer, with its best class')
    parser.add_argument('--out', type=Path, default=Path('view_detr.html'), metavar='FILE',
                        help='the page (view_detr.html)')
    parser.add_argument('--force', action='store_true', help='write over an existing file')
    parser.add_argument('--device', default='cpu', metavar='D', help='cpu, cuda ... (cpu)')
    add_cfg_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.out.exists() and not args.force:
        raise FileExistsError(f'{args.out} exists already; choose another name, or write over it with --force.')

    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from detrove.analysis.detection_page import detection_page
    from detrove.analysis.detection_view import view_detection
    from detrove.apis import init_model
    from detrove.engine.config_check import load_config
    from detrove.inference import ImagePipeline

    cfg = load_config(args.config, args.cfg_options)
    pipeline = ImagePipeline(cfg)
    path, objects = Path(args.image), None
    if args.image.isdecimal() and not path.exists():
        path, objects = _annotated_image(cfg, int(args.image))
    pixels = pipeline.read(path)
    model = init_model(cfg, args.checkpoint, device=args.device)
    view = view_detection(model, pixels, detection=args.detection, query=args.query, objects=objects, path=str(path))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(detection_page(view, f'{Path(cfg.filename).stem}: {path.name}'), encoding='utf-8')
    print(f'{view.class_name(view.label)}, score {view.score:.3f}, query {view.query}: {args.out}')
    return 0


def _annotated_image(cfg, index: int):
    """Path and objects of an image of the validation set, or of the test set where there is none."""
    import numpy as np
    from mmdet.registry import DATASETS

    from detrove.analysis.detection_view import Objects

    loader = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    dataset = DATASETS.build(loader.dataset)
    if not 0 <= index < len(dataset):
        raise IndexError(f'image {index}: the validation set has {len(dataset)}, counted from 0')
    info = dataset.get_data_info(index)
    instances = [one for one in info.get('instances', ()) if not one.get('ignore_flag')]
    boxes = np.array([one['bbox'] for one in instances], float).reshape(-1, 4)
    return Path(info['img_path']), Objects(boxes, np.array([one['bbox_label'] for one in instances], int))
