"""`detrove ablate`: train several configs with several seeds and compare them in one table."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .run_options import CfgOptions
from .train import build_parser as build_train_parser

_EPILOG = """examples:
  detrove ablate base.py base_no-denoising.py
  detrove ablate base.py base_no-denoising.py --seeds 5 -- --amp --cfg-options train_dataloader.batch_size=4
  detrove ablate base.py --search space.py --trials 30
  detrove ablate base.py base_no-denoising.py --launcher slurm --gpus 8 --slurm-options partition=gpu time=1440

Stopped, it goes on when the same command is called again. docs/ablations.md says more.
"""
# What ablate itself says to the training.
_OURS = {'work_dir': '--work-dir', 'resume': '--resume', 'launcher': '--launcher'}
_NOT_SETTINGS = {'work_dir', 'resume', 'launcher', 'visualizer', 'vis_backends', 'log_level', 'log_to'}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove ablate',
        usage='%(prog)s CONFIG [CONFIG ...] [options] [-- options of train]',
        description='Train each config with each seed, and compare them with the first one in a table.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file; the first one is the base')
    parser.add_argument('--seeds', type=_positive, metavar='N', help='seeds 0 to N - 1 for each config (3)')
    parser.add_argument(
        '--search',
        metavar='SPACE.py',
        help='search settings of one config with Optuna: the file has `def space(trial)`, which returns a dict of '
        'settings as for --cfg-options',
    )
    parser.add_argument('--trials', type=_positive, default=20, metavar='N', help='trainings of --search (20)')
    parser.add_argument(
        '--startup', type=_positive, default=5, metavar='N',
        help='trainings of --search before one that is below the median may be ended early (5)',
    )
    parser.add_argument('--work-dir', metavar='DIR', help='where everything goes (./work_dirs/ablation_FIRST_CONFIG)')
    parser.add_argument('--metric', help='what to compare by, e.g. coco/bbox_mAP (that of the best checkpoint)')
    parser.add_argument(
        '--launcher', choices=['none', 'slurm'], default='none', help='one run after another here, or Slurm jobs (none)'
    )
    parser.add_argument(
        '--gpus', type=_not_negative, default=1, metavar='N', help='GPUs of a run, on one machine; 0: on the CPU (1)'
    )
    parser.add_argument(
        '--slurm-options',
        nargs='+',
        action=CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help='settings of the jobs by their names in sbatch, with _ for -: partition=gpu time=1440 (minutes) '
        'cpus_per_task=16',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    split = words.index('--') if '--' in words else len(words)
    parser = build_parser()
    args, train_args = parser.parse_args(words[:split]), words[split + 1 :]
    _check_options(parser, args)

    if args.search:
        return _search(args, train_args)

    # After parsing, so that --help and wrong usage answer at once: these imports take seconds.
    from .ablation_launch import train_here, train_on_slurm
    from .ablation_run import Run
    from .ablation_table import read_results

    experiments = read_experiments(args.configs, train_args, num_gpus=args.gpus)
    work_dir = Path(args.work_dir or Path('work_dirs') / f'ablation_{experiments[0].name}').expanduser().resolve()
    seeds = args.seeds or 3
    # Every config with the first seed, then with the second: what there is can be compared early.
    runs = [
        Run(experiment, seed, work_dir / f'{experiment.name}_seed{seed}')
        for seed in range(seeds)
        for experiment in experiments
    ]
    _check_same_settings(runs)
    work_dir.mkdir(parents=True, exist_ok=True)
    print(f'{len(experiments)} configs x {seeds} seeds in {work_dir}', flush=True)

    def after_run(problems: Mapping[Run, str]) -> None:
        try:
            _write_table(runs, args.metric, work_dir, problems)
        except ValueError as error:  # about the metric: the runs to come are not lost for it
            print(f'no table yet: {error}')

    if args.launcher == 'slurm':
        options = dict(gpus_per_node=args.gpus, **args.slurm_options) if args.gpus else args.slurm_options
        problems = train_on_slurm(runs, options, work_dir, after_run=after_run)
    else:
        problems = train_here(runs, after_run=after_run)
    table = _write_table(runs, args.metric, work_dir, problems)
    if table is not None:
        print(f'\n{table}\n\nalso in {work_dir / "table.md"} and table.csv')
    for run, why in problems.items():
        print(f'no result: {run}: {why}\n  log: {run.log}', file=sys.stderr)
    return int(len(read_results(runs)) < len(runs))


def _search(args: argparse.Namespace, train_args: Sequence[str]) -> int:
    from .ablation_search import search

    def experiment(words: Sequence[str]):
        return read_experiments(args.configs, words, num_gpus=args.gpus)[0]

    name = Path(args.configs[0]).stem
    work_dir = Path(args.work_dir or Path('work_dirs') / f'search_{name}').expanduser().resolve()
    return search(args, train_args, work_dir, make_experiment=experiment, check=_check_same_settings)


def read_experiments(names: Sequence[str], train_args: Sequence[str], *, num_gpus: int) -> list:
    """The experiments of config files, each with the settings that it has under `train_args`.

    Raises:
        FileNotFoundError, ValueError: If a config cannot be read, is named twice or has no validation; if an option
            of the training is one that the ablation sets.
    """
    from detrove.engine.config_check import load_config
    from detrove.engine.config_file import find_config

    paths = [find_config(name).resolve() for name in names]
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise ValueError(f'configs named twice: {", ".join(twice)}')
    return [
        _experiment(name, path, load_config(str(path), given.cfg_options), given, train_args, num_gpus=num_gpus)
        for name, path, given in zip(
            _distinct_names(paths), paths, (_parse_train_args(path, train_args) for path in paths), strict=True
        )
    ]


def _experiment(name: str, path: Path, cfg, given: argparse.Namespace, train_args: Sequence[str], *, num_gpus: int):
    from detrove.engine.config_check import RUNNER_KEYS
    from detrove.engine.config_file import flat_settings

    from .ablation_run import Experiment

    if not cfg.get('train_cfg') or cfg.get('val_evaluator') is None:
        raise ValueError(f'config {path}: an ablation needs train_cfg and val_evaluator, to train and to compare')
    backends = (cfg.get('visualizer') or {}).get('vis_backends')
    if backends is not None and not any(backend['type'].endswith('LocalVisBackend') for backend in backends):
        raise ValueError(
            f"config {path}: results are read from what dict(type='LocalVisBackend') writes; add it to "
            'visualizer.vis_backends'
        )
    unit = 'epoch' if 'max_epochs' in cfg.train_cfg else 'iter'
    if f'max_{unit}s' not in cfg.train_cfg:
        raise ValueError(f'config {path}: train_cfg has neither max_epochs nor max_iters')
    settings = {key: value for key, value in cfg.to_dict().items() if key in RUNNER_KEYS - _NOT_SETTINGS}
    settings.get('randomness', {}).pop('seed', None)
    options = {key: value for key, value in vars(given).items() if key in ('amp', 'auto_scale_lr')}
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    save_best, rule = (
        value[0] if isinstance(value, list) else value
        for value in (checkpoint.get('save_best'), checkpoint.get('rule'))
    )
    return Experiment(
        name=name,
        config=path,
        unit=unit,
        length=cfg.train_cfg[f'max_{unit}s'],
        settings=dict(flat_settings({**settings, 'options of train': options, 'processes': max(1, num_gpus)})),
        train_args=tuple(train_args),
        num_gpus=num_gpus,
        save_best=None if save_best == 'auto' else save_best,
        rule=rule,
    )


def _parse_train_args(config: Path, train_args: Sequence[str]) -> argparse.Namespace:
    parser = build_train_parser()
    given = parser.parse_args([str(config), *train_args])
    taken = [option for name, option in _OURS.items() if getattr(given, name) != parser.get_default(name)]
    taken += [
        f'--cfg-options {key}' for key in given.cfg_options if key in ('randomness', 'randomness.seed', 'work_dir')
    ]
    if taken:
        raise ValueError(f'{", ".join(taken)} after `--`: the ablation sets this for each run')
    return given


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """File names without suffix, with the folder in front where they are not distinct."""
    stems = [path.stem for path in paths]
    names = [f'{path.parent.name}-{path.stem}' if stems.count(path.stem) > 1 else path.stem for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f'configs of the same name, and in folders of the same name: {", ".join(map(str, paths))}')
    return names


def _check_same_settings(runs: Sequence) -> None:
    import json

    from .ablation_table import changes

    for run in runs:
        if run.settings_file.exists():
            lines = changes(json.loads(run.settings_file.read_text()), run.experiment.settings)
            if lines:
                raise ValueError(
                    f'{run.folder} holds a training with other settings, before -> now:\n  '
                    + '\n  '.join(lines[:10])
                    + '\nChoose another --work-dir, or delete that folder to train anew.'
                )


def _check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.search and (len(args.configs) > 1 or args.seeds or args.launcher != 'none'):
        parser.error('--search takes one config, and no --seeds or --launcher: each trial is trained here with seed 0')
    if args.launcher != 'slurm':
        if args.slurm_options:
            parser.error('--slurm-options goes with --launcher slurm')
        return
    minutes = args.slurm_options.get('time')
    if isinstance(minutes, bool) or not isinstance(minutes, int) or minutes <= 0:
        parser.error('--launcher slurm needs --slurm-options time=MINUTES, a whole number: the time limit of a job')
    if 'gpus_per_node' in args.slurm_options:
        parser.error('--slurm-options gpus_per_node: use --gpus')


def _write_table(runs: Sequence, metric: str | None, work_dir: Path, problems: Mapping) -> str | None:
    from .ablation_table import choose_metric, read_results, summarise, write_table

    results = read_results(runs)
    if not results:
        return None
    name = choose_metric(metric, results)
    return write_table(work_dir, summarise(runs, results, name), name, problems)


def _positive(text: str) -> int:
    number = _not_negative(text)
    if number == 0:
        raise argparse.ArgumentTypeError('must be at least 1')
    return number


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number')
    return int(text)
