"""`detrove train`: train a detector or a segmentor."""

import argparse
from collections.abc import Sequence

from .run_options import add_run_options, apply_run_options, positive, start_processes


def build_parser() -> argparse.ArgumentParser:
    """The options of MMDetection's and MMSegmentation's tools/train.py, with the same meaning."""
    parser = argparse.ArgumentParser(prog='detrove train', description='Train a detector or a segmentor.')
    parser.add_argument(
        'config', help='config file: a path, a path inside detrove/configs, or mmdet::NAME, mmseg::NAME'
    )
    add_run_options(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='continue from CKPT, or from the latest whole checkpoint in the work directory when no file is named',
    )
    parser.add_argument(
        '--resume-changed',
        action='store_true',
        help='with --resume: also where schedule, optimiser, batch size or number of processes changed, with the '
        'values of now',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (bfloat16 where there is no GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by total batch size / base_batch_size',
    )
    parser.add_argument(
        '--no-preflight',
        action='store_true',
        help='leave out the short checks before the first step (`detrove preflight` has all)',
    )
    parser.add_argument(
        '--overfit',
        type=positive,
        metavar='N',
        help='train on N images, without augmentation, until they are known, or say what does not learn; in '
        'WORK_DIR/overfit. Exit status 0 when they are known',
    )
    parser.add_argument(
        '--overfit-steps', type=positive, default=1000, metavar='N', help='steps of --overfit at most (1000)'
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    status = start_processes('train', args, argv)
    if status is not None:
        return status

    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from detrove.engine.config_check import check_config, load_config
    from detrove.engine.hooks.raw_evaluation import add_raw_evaluation
    from detrove.engine.launchers import export_ranks
    from detrove.engine.runner import build_runner
    from detrove.engine.trackers import add_trackers

    export_ranks(args.launcher)  # here already: messages about the config name the rank
    cfg = load_config(args.config, args.cfg_options)
    apply_run_options(cfg, args)
    if args.amp or cfg.get('optim_wrapper', {}).get('type') == 'AmpOptimWrapper':
        _use_mixed_precision(cfg)
    if args.auto_scale_lr:
        _scale_learning_rate(cfg)
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.resume_changed:
        if not cfg.get('resume'):
            raise ValueError('--resume-changed says how to resume: give --resume, too')
        cfg.resume_changed = True
    if args.overfit:
        from detrove.engine.overfit import prepare_overfit

        prepare_overfit(cfg, args.overfit, steps=args.overfit_steps)
    else:
        add_raw_evaluation(cfg)  # overfitting has no average
    add_trackers(cfg)
    check_config(cfg, mode='train')

    runner = build_runner(cfg)
    if args.overfit:
        from detrove.engine.hooks.overfit import OverfitHook

        watcher = OverfitHook()
        runner.register_hook(watcher)
        runner.train()
        return int(not watcher.evidence.known)
    if not args.no_preflight:
        from detrove.preflight import PreflightHook

        runner.register_hook(PreflightHook())
    runner.train()
    return 0


def _use_mixed_precision(cfg):
    from detrove.engine.runner import has_accelerator

    if has_accelerator():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:  # mmengine's wrapper needs a GPU: float16 with loss scaling is of no use on a CPU, bfloat16 is
        print('there is no GPU: mixed precision in bfloat16')
        cfg.optim_wrapper.type = 'Bfloat16OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            cfg.optim_wrapper.pop(key, None)


def _scale_learning_rate(cfg):
    setting = cfg.get('auto_scale_lr') or {}
    if 'base_batch_size' not in setting:
        raise ValueError(
            f'--auto-scale-lr: {cfg.filename} does not say for which total batch size its learning rate is meant. Add '
            'auto_scale_lr = dict(enable=False, base_batch_size=16) with that number to the config.'
        )
    setting.enable = True
