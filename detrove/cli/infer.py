"""`detrove infer`: run a trained model on images, videos or a camera and write what it finds."""

import argparse
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from .run_options import add_cfg_options, positive

_EPILOG = """examples:
  detrove infer configs/rt_detr/rtdetr_nano_shapes.py epoch_22.pth photo.jpg
  detrove infer CONFIG CHECKPOINT images/ "more/*.png" --format draw,coco --score-thr 0.5 --out found
  detrove infer CONFIG CHECKPOINT street.mp4 --format draw,csv
  detrove infer CONFIG CHECKPOINT --webcam 0

docs/inference.md describes the formats.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove infer',
        description='Run a detector or segmentor on images, videos or a camera and write drawings, COCO, YOLO, CSV '
        'or label maps.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, or a name such as mmdet::dino/...')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help="weights; a paper's official file is converted by "
                        'itself')
    parser.add_argument('inputs', nargs='*', metavar='INPUT', help='image and video files, folders (with what lies '
                        'below) and patterns such as "images/*.jpg"')
    parser.add_argument('--webcam', type=int, metavar='N', help='the pictures of camera N instead of files, in a '
                        'window; with --out they are written too')
    parser.add_argument('--out', metavar='DIR', help='where to (./work_dirs/CONFIG_NAME/infer)')
    parser.add_argument('--format', default='draw', metavar='LIST', help='what to write, with commas between: draw, '
                        'coco, yolo, csv; map for semantic segmentors (draw)')
    parser.add_argument('--overwrite', '--force', action='store_true', help='replace what is in DIR under the same '
                        'names')
    parser.add_argument('--score-thr', type=_share, default=0.3, metavar='S',
                        help='drop detections with lower scores, 0 to 1; 0 keeps all (0.3)')
    parser.add_argument('--batch-size', type=positive, default=1, metavar='N', help='images at once (1)')
    parser.add_argument('--tile', type=positive, metavar='PIXELS', help='detect in overlapping squares of this size '
                        'and merge their boxes, for large images of small objects')
    parser.add_argument('--overlap', type=_below_one, default=0.2, metavar='S',
                        help="share of a tile's side that its neighbour has too (0.2)")
    parser.add_argument('--checkpoints', nargs='+', default=[], metavar='FILE',
                        help='further checkpoints of this config; their boxes are fused with those of CHECKPOINT')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: each image also mirrored and in '
                        'other sizes; boxes are fused, class probabilities of label maps averaged')
    parser.add_argument('--tta-scales', type=_scales, default=(0.8, 1.0, 1.2), metavar='LIST',
                        help="sizes of --tta as factors of the config's, with commas between (0.8,1,1.2)")
    parser.add_argument('--device', metavar='D', help='cpu, cuda, cuda:1 ... (cuda:0 where there is one)')
    parser.add_argument('--fuse', action='store_true', help="the model's inference form: norms and branches folded")
    add_cfg_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Status 1 where a file could not be read; the others are done all the same."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if bool(args.inputs) == (args.webcam is not None):
        parser.error('give either INPUT files or --webcam N')

    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from detrove.apis import init_model
    from detrove.engine.config_check import load_config
    from detrove.inference import ImagePipeline
    from detrove.inference.stream import Camera, Files
    from detrove.inference.writers import make_writers

    # what can be wrong without a model is told before one is built
    window = None if args.webcam is None else _open_window(args)
    source = Files(args.inputs) if args.webcam is None else Camera(args.webcam)
    cfg = load_config(args.config, args.cfg_options)
    out = Path(args.out or Path('work_dirs') / Path(cfg.filename).stem / 'infer')
    formats = [name.strip() for name in args.format.split(',') if name.strip()]
    make = partial(make_writers, formats, out, overwrite=args.overwrite)
    if args.webcam is not None and args.out is None:
        make = _no_writers
    make({})
    source.pipeline = ImagePipeline(cfg)

    models = [init_model(cfg, checkpoint, device=args.device or _default_device())
              for checkpoint in (args.checkpoint, *args.checkpoints)]
    for model in models if args.fuse else ():
        _fuse(model)
    writers = make(models[0].dataset_meta)
    num_done = 0
    try:
        for image, pixels, sample in _predict(models, source, args):
            for writer in writers:
                writer.add(image, pixels, sample)
            num_done += 1
            if window is not None and not window.show(pixels, sample, models[0].dataset_meta):
                break
    finally:  # what was found before an interruption is kept
        for writer in writers if num_done else ():
            writer.close()
    if num_done and writers:
        print(f'{num_done} {source.unit}: {", ".join(str(writer.path) for writer in writers)}')
    if source.num_failed:
        print(f'{source.num_failed} of {source.num_files} files could not be read and were skipped, see above',
              file=sys.stderr)
    return int(source.num_failed > 0)


def _no_writers(dataset_meta: dict) -> list:
    return []


def _open_window(args: argparse.Namespace):
    """A window for the camera's pictures; None where there is no display and they are only written."""
    from detrove.inference.videos import Window, missing_display

    reason = missing_display()
    if reason is None:
        return Window()
    if args.out is None:
        raise ValueError(f'--webcam {args.webcam}: {reason}, so nothing can be shown. Pass --out DIR to write what is '
                         'found (until Ctrl+C), or give a video file.')
    print(f'{reason}: what is found goes to {args.out} until Ctrl+C', file=sys.stderr)
    return None


def _predict(models, source, args: argparse.Namespace) -> Iterator[tuple]:
    """File or frame, pixels and data sample of each image, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    from detrove.inference import View, make_views, predict_fused

    console = Console(stderr=True)
    waiting = deque()  # read, and not yet predicted: at most a batch of images

    def pixels_of_each():
        for image, pixels in track(source, 'inference', source.expected_number(), console=console, transient=True,
                                   disable=not console.is_terminal):
            waiting.append((image, pixels))
            yield pixels

    views = make_views(args.tta_scales) if args.tta else [View()]
    samples = predict_fused(models, pixels_of_each(), views=views, batch_size=args.batch_size,
                            score_thr=args.score_thr, tile=args.tile, overlap=args.overlap)
    for sample in samples:
        yield *waiting.popleft(), sample


def _fuse(model) -> None:
    if not hasattr(model, 'fuse_for_inference'):
        raise ValueError(f'--fuse: {type(model).__name__} has no inference form (no method fuse_for_inference). Run '
                         'without --fuse.')
    model.fuse_for_inference()


def _default_device() -> str:
    import torch

    return 'cuda:0' if torch.cuda.is_available() else 'cpu'


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 to 1')
    return value


def _below_one(text: str) -> float:
    if _share(text) == 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not below 1')
    return float(text)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(','))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 10 for scale in scales):
        raise argparse.ArgumentTypeError(f'{text!r} is not a list of numbers from 0.1 to 10 with commas between')
    return scales
