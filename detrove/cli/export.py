"""`detrove export`: write a model to a file that runs elsewhere, and compare the two."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .run_options import add_cfg_options, positive

_FORMATS = ('onnx', 'torchexport', 'openvino', 'torchscript')
_EPILOG = """examples:
  detrove export configs/rt_detr/rtdetr_nano_shapes.py epoch_22.pth --format onnx
  detrove export CONFIG CHECKPOINT --format onnx --dynamic batch size --images "images/*.jpg"
  detrove export configs/swin/mask-rcnn_swin-tiny_fpn_1x_coco.py CHECKPOINT --part backbone --size 800 1344

docs/deployment.md describes the files.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove export',
        description='Write a detector or segmentor as ONNX, torch.export program, OpenVINO or TorchScript; run the '
                    'file on sample images, and keep it if its answers are those of the model.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', metavar='CONFIG', help='config file')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help="weights; a paper's official file is converted by "
                        'itself')
    parser.add_argument('--format', choices=_FORMATS, default='onnx', help='(onnx)')
    parser.add_argument('--out', metavar='FILE', help='where to (./work_dirs/CONFIG_NAME/CONFIG_NAME.SUFFIX)')
    parser.add_argument('--overwrite', '--force', action='store_true', help='replace an existing file')
    parser.add_argument('--part', choices=['model', 'backbone'], default='model',
                        help='all, or backbone and neck: feature maps (model)')
    parser.add_argument('--no-pre', action='store_true', help='take normalised float inputs (B, 3, H, W) instead of '
                        'pixels (B, H, W, 3) uint8 RGB')
    parser.add_argument('--no-post', action='store_true', help='give logits and normalised boxes, or segmentation '
                        'logits, instead of boxes in pixels, scores and labels, or label maps')
    parser.add_argument('--size', nargs=2, type=positive, metavar=('HEIGHT', 'WIDTH'), help="of the network's input "
                        "(the config's)")
    parser.add_argument('--batch', type=positive, default=1, metavar='N', help='images at once (1)')
    parser.add_argument('--dynamic', nargs='+', choices=['batch', 'size'], default=[], help='take any number of '
                        'images, of any size')
    parser.add_argument('--half', action='store_true', help='float16; sampling and boxes stay in float32')
    parser.add_argument('--grid-sample', action='store_true', help='write bilinear sampling as GridSample')
    parser.add_argument('--no-fuse', action='store_true', help='keep norms and branches as they were trained')
    parser.add_argument('--images', nargs='+', default=[], metavar='FILE', help='files, folders and patterns to '
                        'compare on (drawings like those of the built-in sample data)')
    add_cfg_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)

    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from detrove.apis import init_model
    from detrove.engine.config_check import load_config
    from detrove.export import ExportSettings, check_target, export_model
    from detrove.export.formats import SUFFIXES

    settings = ExportSettings(
        format=args.format, part=args.part, preprocessing=not args.no_pre, postprocessing=not args.no_post,
        size_hw=None if args.size is None else tuple(args.size), batch=args.batch,
        dynamic_batch='batch' in args.dynamic, dynamic_size='size' in args.dynamic, half=args.half,
        grid_sample=args.grid_sample, fuse=not args.no_fuse, images=tuple(args.images), overwrite=args.overwrite)
    cfg = load_config(args.config, args.cfg_options)
    name = Path(cfg.filename).stem
    out = Path(args.out or Path('work_dirs') / name / f'{name}{SUFFIXES[args.format]}')
    check_target(out, settings)
    path = export_model(init_model(cfg, args.checkpoint), cfg, out, settings)
    print(f'{path}: {path.stat().st_size / 2**20:.1f} MiB')
    return 0
