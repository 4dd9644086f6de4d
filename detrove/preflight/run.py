"""All checks before a training: config, data, learning rate, weights, memory."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from mmengine.config import Config
from torch import nn

from detrove.apis import build_model
from detrove.datasets.check import DEFAULT_IMAGES, DataReport, Finding, Severity, check_data
from detrove.datasets.check.finding import error, note
from detrove.datasets.check.source import Track, untracked
from detrove.engine.config_check import config_problems
from detrove.engine.data_check import class_names

from .input_size import largest_input_hw
from .lines import line_of
from .memory import check_memory, predict_memory
from .schedule import check_schedule
from .weights import check_weights


def preflight(
    cfg: Config, *, images: int | None = DEFAULT_IMAGES, num_processes: int = 1, memory: bool = True,
    available_bytes: int | None = None, workers: int | None = None, track: Track = untracked,
) -> DataReport:
    """Find what would break or spoil the training that a config describes, without starting it.

    Args:
        cfg: The complete config.
        images: How many image files of each data set are read, see `check_data`.
        num_processes: Processes that will train.
        memory: Predict the memory of a step, which takes some forward and backward passes on the CPU.
        available_bytes: Memory of a GPU; that of the first one here when None.
        workers: Threads that read images.
        track: Shows progress, see `detrove.datasets.check.source.untracked`.

    Returns:
        Findings, each with the key to change and, where a config file sets it, the line.
    """
    problems = [_from_text(text) for text in config_problems(cfg, mode='train')]
    if problems:  # nothing else can be built
        return _with_lines(DataReport([], problems), cfg)
    report = check_data(cfg, splits=('train', 'val'), images=images, workers=workers, track=track)
    num_images = _number_of_images(report)
    report.findings += check_schedule(cfg, num_processes=num_processes, num_images=num_images)
    report.findings += _check_model(cfg, memory, available_bytes)
    return _with_lines(report, cfg)


def _check_model(cfg: Config, memory: bool, available_bytes: int | None) -> Iterator[Finding]:
    try:
        model: nn.Module = build_model(copy.deepcopy(cfg))  # mmdet's detectors write into their settings
    except Exception as problem:  # whatever it is, training would meet it too
        yield error('model.cannot-build', 'model', f'the model cannot be built: {type(problem).__name__}: {problem}',
                    fix='correct the settings below model')
        return
    yield from check_weights(cfg, model, _training_classes(cfg))
    del model
    if not memory:
        return
    input_hw = largest_input_hw(cfg)
    if input_hw is None:
        yield note('memory.unknown-size', 'train_dataloader.dataset.pipeline', 'memory was not predicted: no transform '
                   'sets the size of images')
        return
    try:
        prediction = predict_memory(cfg, input_hw)
    except Exception as problem:  # of models that need more than generated images and objects
        yield note('memory.not-predicted', 'model', f'memory was not predicted, because a step on generated images '
                   f'failed: {type(problem).__name__}: {str(problem).partition(chr(10))[0]}')
        return
    if available_bytes is None and torch.cuda.is_available():
        available_bytes = torch.cuda.get_device_properties(0).total_memory
    yield from check_memory(cfg, prediction, available_bytes)


def _training_classes(cfg: Config) -> Sequence[str] | None:
    from detrove.datasets.check.source import unwrapped
    from detrove.engine.signatures import find_registered

    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    scope = cfg.get('default_scope') or 'mmengine'
    for _, inner in unwrapped(dataset, ''):
        dataset_class = find_registered(inner.get('type'), ('DATASETS',), scope)
        try:
            return None if dataset_class is None else class_names(inner, dataset_class)
        except (OSError, ValueError, KeyError):  # a finding about its file already
            return None
    return None


def _number_of_images(report: DataReport) -> int | None:
    numbers = [one.facts.get('images', '').replace(',', '') for one in report.sources if one.source.trains]
    return sum(map(int, numbers)) if numbers and all(number.isdecimal() for number in numbers) else None


def _from_text(text: str) -> Finding:
    """A problem as `check_config` words it, the key first."""
    key, colon, rest = text.partition(': ')
    is_key = bool(colon) and ' ' not in key
    return Finding(Severity.ERROR, 'config.setting', key if is_key else 'config', rest if is_key else text)


def _with_lines(report: DataReport, cfg: Config) -> DataReport:
    if cfg.filename:
        for findings in (report.findings, *(one.findings for one in report.sources)):
            for index, finding in enumerate(findings):
                line = line_of(cfg.filename, finding.where)
                if line is not None:
                    findings[index] = replace(finding, where=f'{finding.where} ({line})')
    return report
