"""The command-line options that training and testing share."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, DictAction


class CfgOptions(DictAction):
    """mmengine's KEY=VALUE action with a usage error, not a traceback, for a word without `=`."""

    def __call__(self, parser, namespace, values, option_string=None):
        for word in values:
            if '=' not in word:
                parser.error(f'{option_string}: {word!r} is not of the form key=value')
            if word.count('[') != word.count(']') or word.count('(') != word.count(')'):
                parser.error(f'{option_string}: brackets do not match in {word!r}')
        super().__call__(parser, namespace, values, option_string)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options` to a command that reads one config and does not train."""
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE',
                        help='settings to change in the config')


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add `--work-dir`, `--cfg-options`, `--processes`, `--launcher`, `--local_rank`, `--allow-unsafe-checkpoint` and
    `--deterministic`."""
    parser.add_argument('--work-dir', metavar='DIR', help='where logs and results go (./work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. train_dataloader.batch_size=4 model.backbone.depth=34; '
        'lists are written key="[a,b]" or key=a,b, without spaces',
    )
    parser.add_argument(
        '--processes',
        type=positive,
        default=1,
        metavar='N',
        help='start N processes on this machine: a GPU each, or together on the CPU where there is none (1)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how this process was started: `pytorch` under torchrun (none)',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        '--allow-unsafe-checkpoint',
        action='store_true',
        help='also load checkpoints that run code when opened; only for files from people you trust',
    )
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='give the same bits whenever this is run on this machine, from randomness.seed in the config, or 0; '
        'slower on GPUs (docs/reliability.md)',
    )


def positive(text: str) -> int:
    """The type of an option that counts something, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least 1')
    return int(text)


def apply_run_options(cfg: Config, args: argparse.Namespace) -> None:
    """Write these options into the config, except `--cfg-options`, which are in it already."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    cfg.allow_unsafe_checkpoint = args.allow_unsafe_checkpoint
    if args.deterministic:
        given = {key: value for key, value in (cfg.get('randomness') or {}).items() if value is not None}
        cfg.randomness = {'seed': 0, **given, 'deterministic': True}
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)


def start_processes(command: str, args: argparse.Namespace, argv: Sequence[str] | None) -> int | None:
    """Run the command in `args.processes` processes instead of this one; see `run_in_processes`.

    Returns:
        The exit status, or None where this process is to do the work alone.

    Raises:
        ValueError: A launcher has started this process, one of several, already.
    """
    if args.processes == 1:
        return None
    if args.launcher != 'none':
        raise ValueError(
            f'--processes {args.processes} --launcher {args.launcher}: the launcher starts the processes. Leave one of '
            'the two options out.'
        )
    from detrove.engine.processes import available_processes, run_in_processes  # imports torch

    count = available_processes(args.processes)
    return None if count == 1 else run_in_processes(command, sys.argv[1:] if argv is None else argv, count)
