"""`detrove test`: evaluate a checkpoint, write its predictions, draw them."""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from .run_options import add_run_options, apply_run_options, positive, start_processes


def build_parser() -> argparse.ArgumentParser:
    """The options of MMDetection's and MMSegmentation's tools/test.py with the same meaning, and more."""
    parser = argparse.ArgumentParser(
        prog='detrove test', description='Evaluate a checkpoint of a detector or segmentor.'
    )
    parser.add_argument(
        'config', help='config file: a path, a path inside detrove/configs, or mmdet::NAME, mmseg::NAME'
    )
    parser.add_argument('checkpoint', help="checkpoint file or address; a paper's official file is converted by itself")
    add_run_options(parser)
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='write the predictions: x.json in COCO result format, x.pkl as MMDetection dumps them; '
        'segmentation: x.pkl, or a folder for one PNG map per image',
    )
    parser.add_argument('--force', action='store_true', help='let --out replace an existing file')
    parser.add_argument(
        '--report',
        nargs='?',
        const='',
        metavar='FILE',
        help='also write a page about what the model finds, misses and confuses (WORK_DIR/report.html)',
    )
    parser.add_argument('--show', action='store_true', help='show each image with its predictions in a window')
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write images with predictions to WORK_DIR/TIME/DIR (segmentation: to DIR)',
    )
    parser.add_argument('--wait-time', type=float, default=2, metavar='S', help='seconds each image is shown (2)')
    parser.add_argument('--tta', action='store_true', help='average over augmented copies of each image (boxes: fused)')
    parser.add_argument(
        '--tile', type=positive, metavar='PIXELS',
        help='test large images in overlapping squares of this size, whose boxes are merged before they are compared',
    )
    parser.add_argument(
        '--overlap', type=float, default=0.2, metavar='S', help="share of a tile's side that its neighbour has too "
        '(0.2)',
    )
    parser.add_argument(
        '--fuse', action='store_true', help="test the model's inference form: norms and branches folded"
    )
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='test even if the checkpoint does not fill the whole model',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.tile is not None and args.tta:
        parser.error('--tile and --tta: one at a time')
    status = start_processes('test', args, argv)
    if status is not None:
        return status

    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from mmengine.dist import is_main_process

    from detrove.engine.config_check import check_config, load_config
    from detrove.engine.launchers import export_ranks
    from detrove.engine.runner import build_runner
    from detrove.inference import cut_test_set

    export_ranks(args.launcher)  # here already: messages about the config name the rank
    cfg = load_config(args.config, args.cfg_options)
    apply_run_options(cfg, args)
    cfg.load_from = args.checkpoint
    cfg.partial_checkpoint_ok = args.allow_partial
    # A checkpoint's weights are the averaged ones already; the hook would swap them with a second copy, unfused.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'EMAHook']
    if args.show or args.show_dir:
        _draw_predictions(cfg, args)
    check_config(cfg, mode='test')
    if args.out is not None:
        _prepare_out(cfg, args.out, force=args.force)
    if args.tile is not None:
        cut_test_set(cfg, tile=args.tile, overlap=args.overlap)
    if args.tta:
        _use_test_time_augmentation(cfg)

    runner = build_runner(cfg)
    collector = _collect_predictions(runner) if args.report is not None else None
    if args.out is not None:
        _write_predictions(runner, args.out)
    if args.fuse:
        from detrove.engine.hooks.fuse import FuseHook

        runner.register_hook(FuseHook(), priority='VERY_HIGH')
    metrics = runner.test()
    if collector is not None and is_main_process():
        _write_report(runner, metrics, collector, args.report)
    return 0


def is_segmentation(cfg: Config) -> bool:
    """Whether the config is one of MMSegmentation's, by its default scope."""
    return cfg.get('default_scope') == 'mmseg'


def _draw_predictions(cfg: Config, args: argparse.Namespace):
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        kind = 'SegVisualizationHook' if is_segmentation(cfg) else 'DetVisualizationHook'
        raise ValueError(
            f'--show and --show-dir need a visualization hook, and {cfg.filename} has none. Add '
            'visualization=dict(type='
            f"'{kind}') to default_hooks."
        )
    hook.draw = True
    if args.show:
        hook.show = True
        hook.wait_time = args.wait_time
    if args.show_dir and is_segmentation(cfg):
        cfg.visualizer.save_dir = args.show_dir
    elif args.show_dir:
        hook.test_out_dir = args.show_dir


def _use_test_time_augmentation(cfg: Config):
    """Wrap the model and replace the test pipeline by `tta_model` and `tta_pipeline`; a flip by default."""
    from detrove.datasets.wrappers import innermost_settings

    segmentation = is_segmentation(cfg)
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='SegTTAModel' if segmentation else 'FusedTTAModel')
    dataset = innermost_settings(cfg.test_dataloader.dataset)
    if 'tta_pipeline' not in cfg:
        cfg.tta_pipeline = _flip_pipeline(dataset.pipeline, segmentation=segmentation)
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = {**cfg.tta_model, 'module': cfg.model}


def _flip_pipeline(pipeline: Sequence[dict], *, segmentation: bool) -> list[dict]:
    *steps, pack = copy.deepcopy(list(pipeline))
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    if not segmentation:
        pack['meta_keys'] = (
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
        )
        return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    # The true map is loaded after the flip: the predictions are flipped back before they are compared with
    # it.
    loading = [step for step in steps if step['type'].rpartition('.')[2] == 'LoadAnnotations']
    before = [step for step in steps if step not in loading]
    return [
        *before,
        dict(type='TestTimeAug', transforms=[flips, loading, [pack]] if loading else [flips, [pack]]),
    ]


def _prepare_out(cfg: Config, out: str, *, force: bool):
    path = Path(out)
    allowed = ('.pkl', '.pickle', '') if is_segmentation(cfg) else ('.json', '.pkl', '.pickle')
    if path.suffix not in allowed:
        raise ValueError(
            f'--out {out}: the name must end in {" or ".join(suffix or "nothing (a folder)" for suffix in allowed)}'
        )
    if path.is_dir() and path.suffix:
        raise ValueError(f'--out {out}: this is a folder')
    filled = any(path.iterdir()) if path.is_dir() else path.exists()
    if filled and not force:
        raise ValueError(
            f'--out {out}: there is something already. Choose another name, or pass --force to replace it.'
        )
    if not path.suffix:
        cfg.test_evaluator.update(output_dir=out, keep_results=True)


def _write_predictions(runner, out: str):
    from mmdet.evaluation import DumpDetResults
    from mmengine.evaluator import DumpResults

    from detrove.evaluation import CocoResultsWriter

    metrics = runner.test_evaluator.metrics
    suffix = Path(out).suffix
    if suffix == '.json':
        metrics.append(CocoResultsWriter(out_file=out, dataset=runner.test_dataloader.dataset))
    elif suffix and is_segmentation(runner.cfg):
        metrics.append(DumpResults(out_file_path=out))
    elif suffix:
        metrics.append(DumpDetResults(out_file_path=out))


def _collect_predictions(runner):
    from detrove.report.predictions import PredictionCollector
    from detrove.report.segmentation import MapCollector

    collector = MapCollector() if is_segmentation(runner.cfg) else PredictionCollector()
    collector.dataset_meta = runner.test_dataloader.dataset.metainfo
    runner.test_evaluator.metrics.append(collector)
    return collector


def _write_report(runner, metrics: dict, collector, out: str):
    from detrove.report.report import report_of_test

    file = Path(out) if out else Path(runner.work_dir) / 'report.html'
    print(f'report: {report_of_test(runner, metrics, collector, file)}')
