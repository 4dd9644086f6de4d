"""A report from runs: what each found, put into sections, written as one file."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.evaluator import BaseMetric

from detrove.version import __version__

from . import sections_common, sections_detection, sections_mistakes, sections_quality, sections_segmentation
from .analysis import DetectorAnalysis, analyse, history_of
from .blocks import Section
from .bootstrap import NUM_RESAMPLES
from .page import render
from .predictions import collected, predictions_of
from .run import Run
from .sections_segmentation import SegmentorAnalysis
from .segmentation import segment, to_segmentation
from .test_set import open_test_set
from .unavailable import Unavailable


def write_report(runs: Sequence[Run], out: str | Path, *, masks: bool = False,
                 num_resamples: int = NUM_RESAMPLES) -> Path:
    """Write a report of runs, of several a comparison with the first.

    Predictions that are not there yet are made, which takes as long as a test, and kept in the work directory.

    Args:
        runs: detectors or segmentors, not both.
        out: HTML file to write.
        masks: match instances by their masks, not by their boxes.
        num_resamples: of the images, for intervals.

    Raises:
        ValueError: if the runs are of both kinds, have no COCO annotations, or do not fit their config.
    """
    kinds = {run.is_segmentation for run in runs}
    if len(kinds) > 1:
        raise ValueError('the runs are of detectors and of segmentors: report on each kind by itself')
    if kinds == {True}:
        analyses = [SegmentorAnalysis(run, segment(run)) for run in runs]
    else:
        analyses = [_analyse_detector(run, masks=masks) for run in runs]
    return write_analyses(analyses, out, num_resamples=num_resamples)


def write_analyses(analyses: Sequence[DetectorAnalysis] | Sequence[SegmentorAnalysis], out: str | Path, *,
                   num_resamples: int = NUM_RESAMPLES) -> Path:
    """Write the report of runs whose predictions are known."""
    make = _segmentation_sections if isinstance(analyses[0], SegmentorAnalysis) else _detection_sections
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    title = ' and '.join(one.name for one in analyses)
    subtitle = f'Report of {time.strftime("%Y-%m-%d %H:%M")}, detrove {__version__}'
    out.write_text(render(title, subtitle, make(analyses, num_resamples)), encoding='utf-8')
    return out


def report_of_test(runner, metrics: Mapping, collector: BaseMetric, out: str | Path) -> Path:
    """Write the report of a test that has run.

    Args:
        runner: that tested, with the checkpoint in its config's `load_from`.
        metrics: what its evaluators gave.
        collector: `PredictionCollector`, of a segmentor `MapCollector`, that saw the predictions.
        out: HTML file to write.
    """
    cfg, checkpoint = runner.cfg, Path(runner.cfg.load_from)
    work_dir = Path(runner.work_dir)
    run = Run(checkpoint.stem, cfg, Path(cfg.filename), work_dir, checkpoint, 'named by tools/test.py')
    if run.is_segmentation:
        analysis = SegmentorAnalysis(run, to_segmentation(collector, runner, metrics, checkpoint))
    else:
        predictions = collected(collector, runner, metrics, checkpoint)
        analysis = analyse(run, open_test_set(cfg), predictions)
    return write_analyses([analysis], out)


def _analyse_detector(run: Run, *, masks: bool) -> DetectorAnalysis:
    test_set = open_test_set(run.cfg)
    return analyse(run, test_set, predictions_of(run, test_set), iou_type='segm' if masks else 'bbox')


def _detection_sections(analyses: Sequence[DetectorAnalysis], num_resamples: int) -> list[Section]:
    samples = _or_why_not(lambda: sections_detection.compare(analyses, num_resamples=num_resamples))
    names, runs, histories = _training_parts(analyses)
    return [
        sections_detection.overview(analyses, samples),
        sections_detection.by_part(analyses, samples),
        sections_mistakes.errors(analyses),
        sections_mistakes.images(analyses),
        sections_quality.curves(analyses),
        sections_mistakes.confusions(analyses),
        sections_quality.calibration(analyses),
        sections_common.training(names, histories),
        sections_common.speed(names, histories, runs, [one.predictions.num_parameters for one in analyses]),
        sections_common.configuration(runs),
    ]


def _segmentation_sections(analyses: Sequence[SegmentorAnalysis], num_resamples: int) -> list[Section]:
    samples = _or_why_not(lambda: sections_segmentation.compare(analyses, num_resamples=num_resamples))
    names, runs, histories = _training_parts(analyses)
    return [
        sections_segmentation.overview(analyses, samples),
        sections_segmentation.by_class(analyses, samples),
        sections_segmentation.images(analyses),
        sections_segmentation.confusions(analyses),
        sections_common.training(names, histories),
        sections_common.speed(names, histories, runs, [one.result.about.num_parameters for one in analyses]),
        sections_common.configuration(runs),
    ]


def _training_parts(analyses):
    runs = [one.run for one in analyses]
    return [one.name for one in analyses], runs, [_or_why_not(lambda run=run: history_of(run)) for run in runs]


def _or_why_not(make):
    try:
        return make()
    except Unavailable as why:
        return why
