"""`detrove infer`: run a trained model on images and write what it finds."""

import argparse
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .run_options import CfgOptions, positive

_EPILOG = """examples:
  detrove infer configs/rt_detr/rtdetr_nano_shapes.py epoch_22.pth photo.jpg
  detrove infer CONFIG CHECKPOINT images/ "more/*.png" --format draw,coco --score-thr 0.5 --out found

docs/inference.md describes the formats.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove infer',
        description='Run a detector or segmentor on images and write drawings, COCO, YOLO, CSV or label maps.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, or a name such as mmdet::dino/...')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help="weights; a paper's official file is converted by "
                        'itself')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='image files, folders (with what lies below) and '
                        'patterns such as "images/*.jpg"')
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
    parser.add_argument('--device', metavar='D', help='cpu, cuda, cuda:1 ... (cuda:0 where there is one)')
    parser.add_argument('--fuse', action='store_true', help="the model's inference form: norms and branches folded")
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE',
                        help='settings to change in the config')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Status 1 where an image could not be read; the others are done all the same."""
    args = build_parser().parse_args(argv)

    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from detrove.apis import init_model
    from detrove.engine.config_check import load_config
    from detrove.inference import ImagePipeline, find_images
    from detrove.inference.writers import make_writers

    images = find_images(args.inputs)  # what can be wrong without a model is told before one is built
    cfg = load_config(args.config, args.cfg_options)
    out = Path(args.out or Path('work_dirs') / Path(cfg.filename).stem / 'infer')
    formats = [name.strip() for name in args.format.split(',') if name.strip()]
    make_writers(formats, out, {}, overwrite=args.overwrite)
    pipeline = ImagePipeline(cfg)

    models = [init_model(cfg, checkpoint, device=args.device or _default_device())
              for checkpoint in (args.checkpoint, *args.checkpoints)]
    for model in models if args.fuse else ():
        _fuse(model)
    writers = make_writers(formats, out, models[0].dataset_meta, overwrite=args.overwrite)
    source = _ReadableImages(images, pipeline)
    num_done = 0
    try:
        for name, image, sample in _predict(models, source, args):
            for writer in writers:
                writer.add(name, image, sample)
            num_done += 1
    finally:  # what was found before an interruption is kept
        for writer in writers if num_done else ():
            writer.close()
    if num_done:
        print(f'{num_done} images: {", ".join(str(writer.path) for writer in writers)}')
    if source.num_failed:
        print(f'{source.num_failed} of {len(images)} images could not be read and were skipped, see above',
              file=sys.stderr)
    return int(source.num_failed > 0)


class _ReadableImages:
    """Names and pixels of the files that can be read; the others are named on stderr and counted."""

    def __init__(self, images: Sequence, pipeline):
        self.images = images
        self.pipeline = pipeline
        self.num_failed = 0

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple]:
        from detrove.inference import UnreadableImage

        for image in self.images:
            try:
                pixels = self.pipeline.read(image.path)
            except (UnreadableImage, OSError) as error:
                print(f'skipped: {error}', file=sys.stderr)
                self.num_failed += 1
                continue
            yield image.name, pixels


def _predict(models, source: Iterable, args: argparse.Namespace) -> Iterator[tuple]:
    """Name, pixels and data sample of each image, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    from detrove.inference import predict_fused

    console = Console(stderr=True)
    waiting = deque()  # read, and not yet predicted: at most a batch of images

    def pixels_of_each():
        for name, pixels in track(source, 'inference', len(source), console=console, transient=True,
                                  disable=not console.is_terminal):
            waiting.append((name, pixels))
            yield pixels

    samples = predict_fused(models, pixels_of_each(), batch_size=args.batch_size, score_thr=args.score_thr,
                            tile=args.tile, overlap=args.overlap)
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
