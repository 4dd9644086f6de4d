"""The `detrove` command: each subcommand is a module with `main(argv)`, imported when it is used."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from .errors import DEBUG_FLAG, run_reporting_errors
from .safe_option import SAFE_CONFIG_FLAG, config_reading

# command -> (module with `main(argv)`, one line of help)
COMMANDS = {
    'train': ('detrove.cli.train', 'train a detector or a segmentor from a config file'),
    'replay': ('detrove.cli.replay', 'compute a training step again that had a non-finite loss or gradient'),
    'test': ('detrove.cli.test', 'evaluate a checkpoint, or write its predictions'),
    'infer': ('detrove.cli.infer', 'run a trained model on images, videos or a camera'),
    'export': ('detrove.cli.export', 'write a model as ONNX, torch.export, OpenVINO or TorchScript, and compare'),
    'report': ('detrove.cli.report', 'write a page about trained models: what they find, miss and confuse'),
    'ablate': ('detrove.cli.ablate', 'compare configs, each trained with several seeds, in one table'),
    'convert-checkpoint': (
        'detrove.cli.convert_checkpoint',
        "turn a paper's official checkpoint into one for a config",
    ),
    'convert-dataset': ('detrove.cli.convert_dataset', 'turn VOC or YOLO into COCO json, or cut COCO into tiles'),
    'check-dataset': ('detrove.cli.check_dataset', 'say what is missing or malformed in the data of a config'),
    'preflight': ('detrove.cli.preflight', 'say what would break or spoil a training, before it starts'),
    'browse-dataset': ('detrove.cli.browse_dataset', 'show what training gets: images beside their originals'),
    'list-models': ('detrove.cli.list_models', 'list the models that have a config, with their figures'),
    'benchmark': ('detrove.cli.benchmark', 'measure models side by side: time, memory, operations'),
    'doctor': (
        'detrove.doctor',
        'print versions, the op implementations in use, devices, and what is missing',
    ),
}

_EPILOG = f"""commands:
{chr(10).join(f'  {name:<20}{line}' for name, (_, line) in COMMANDS.items())}

`detrove COMMAND --help` explains one command. With {DEBUG_FLAG}, or DETROVE_DEBUG=1 in the environment,
an error shows its traceback. With {SAFE_CONFIG_FLAG}, or DETROVE_SAFE_CONFIG=1, configs are read as data: for
those from strangers, since a config is otherwise code that is run.

examples:
  detrove train configs/rt_detr/rtdetr_nano_shapes.py
  detrove test configs/rt_detr/rtdetr_nano_shapes.py CHECKPOINT --out results.json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `detrove`; those of this process when None.

    Returns:
        The exit status: 0, or 1 after an error, 2 after wrong usage, 130 when interrupted.
    """
    # OpenMP threads spin while they wait for work. Where a data loading process takes their core meanwhile, a step on
    # two cores was seen to take ten times as long with the default, which spins for milliseconds; with a spin too short
    # to bridge the gaps between operators, more than twice as long. Read once, when torch is imported.
    os.environ.setdefault('GOMP_SPINCOUNT', '100000')
    words = list(sys.argv[1:] if argv is None else argv)
    debug = DEBUG_FLAG in words
    safe_configs = SAFE_CONFIG_FLAG in words
    words = [word for word in words if word not in (DEBUG_FLAG, SAFE_CONFIG_FLAG)]
    with config_reading(safe=safe_configs):
        return run_reporting_errors(lambda: _dispatch(words), debug=debug)


def _dispatch(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog='detrove',
        description='Train and test detection and segmentation models from config files.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='store_true', help='print the version and exit')
    parser.add_argument('command', nargs='?', metavar='COMMAND', choices=[*COMMANDS, None], help=argparse.SUPPRESS)
    # Words after the command belong to the command, `--help` among them.
    split = next((index + 1 for index, word in enumerate(words) if not word.startswith('-')), len(words))
    args = parser.parse_args(words[:split])
    if args.version:
        from detrove import __version__

        print(f'detrove {__version__}')
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    module = importlib.import_module(COMMANDS[args.command][0])
    return int(module.main(words[split:]) or 0)
