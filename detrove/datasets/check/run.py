"""All checks of the data of a config."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from mmdet.datasets import CocoDataset, Objects365V2Dataset
from mmengine.config import Config

from . import coco, panoptic, segmentation
from .capacity import check_capacity
from .classes import check_heads, check_names
from .coco_table import CocoTable, read_json, to_table, with_short_masks
from .files import Folders, check_exist
from .finding import Finding, Severity, error
from .images import ImageRecord, check_images, sample
from .layout import expected_layout, in_data_root, missing_files
from .overlap import ImageFile, check_overlap
from .source import SPLITS, DataSource, Track, find_sources, untracked

DEFAULT_IMAGES = 500


@dataclass
class SourceReport:
    """What was looked at in one data set.

    Attributes:
        source: The data set.
        findings: What was found.
        facts: Numbers for people: images, objects, classes, how many files were read.
        layout: How such data lies on disk, where something is missing.
    """

    source: DataSource
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    layout: str = ''

    def has_errors(self, *prefixes: str) -> bool:
        return any(one.severity is Severity.ERROR and one.kind.startswith(prefixes) for one in self.findings)


@dataclass
class DataReport:
    """Findings of each data set, and those about the config or several data sets."""

    sources: list[SourceReport]
    findings: list[Finding]

    @property
    def all_findings(self) -> list[Finding]:
        return [*self.findings, *(finding for report in self.sources for finding in report.findings)]

    def number(self, severity: Severity) -> int:
        return sum(finding.severity is severity for finding in self.all_findings)


def check_data(
    cfg: Config, *, splits: Sequence[str] = SPLITS, images: int | None = DEFAULT_IMAGES, workers: int | None = None,
    track: Track = untracked,
) -> DataReport:
    """Check the data that a config names, before anything is trained.

    Args:
        cfg: The complete config.
        splits: Which of train, val and test.
        images: How many image files (and label maps) of each data set are read; None for all, 0 for none. Annotation
            files are always read whole, files listed, and, unless 0, files of equal size in training and validation
            compared.
        workers: Threads that read images; None for one a core, 16 at most.
        track: Shows progress, see `untracked`.

    Raises:
        ValueError: If a split is unknown.
    """
    unknown = set(splits) - set(SPLITS)
    if unknown:
        raise ValueError(f'splits are among {", ".join(SPLITS)}, got {", ".join(sorted(unknown))}')
    sources, findings = find_sources(cfg, splits)
    checker = _Checker(cfg.get('model') or {}, images, workers or min(16, os.cpu_count() or 1), track)
    reports = [checker.check(source) for source in sources]
    findings += checker.compare(reports)
    return DataReport(reports, findings)


class _Checker:
    """Checks data sets one after another; keeps the names of their images and the listings of folders."""

    def __init__(self, model: Mapping, number: int | None, workers: int, track: Track):
        self.model = model
        self.number = number
        self.workers = workers
        self.track = track
        self.folders = Folders()
        self.images: dict[str, list[ImageFile]] = {}  # path of a source -> its images
        self.reported_heads: set[tuple[str, str]] = set()

    def check(self, source: DataSource) -> SourceReport:
        report = SourceReport(source)
        report.findings += missing_files(source.settings, source.path, skip=_unread_prefixes(source))
        if report.findings:
            report.layout = expected_layout(type(source.dataset).__name__, source.dataset.data_root)
        check = {'coco': self._check_coco, 'panoptic': self._check_panoptic, 'segmentation': self._check_segmentation}
        for finding in check[source.kind](source, report):
            report.findings.append(finding)
        return report

    def compare(self, reports: Sequence[SourceReport]) -> Iterator[Finding]:
        """Training against validation and test; images of data sets that could not be read are left out."""
        known = [report.source for report in reports if self.images.get(report.source.path)]
        for trained in known:
            for evaluated in known:
                if trained.trains and not evaluated.trains:
                    yield from check_overlap(
                        trained, evaluated, self.images[trained.path], self.images[evaluated.path], self.folders,
                        read_files=self.number != 0, workers=self.workers, track=self.track)

    def _check_coco(self, source: DataSource, report: SourceReport) -> Iterator[Finding]:
        if source.classes is not None:
            yield from self._check_heads(source, source.classes)
        yield from _check_evaluators(source)
        content = yield from self._read(source, report)
        if content is None:
            return
        broken = list(coco.check_keys(source, content, _ann_file(source)))
        yield from broken
        if any(one.kind == 'coco.missing-key' for one in broken):
            return  # images without names or categories without ids: nothing to compare the rest with
        names = [_image_name(source, image) for image in content['images']]
        table = to_table(Path(_ann_file(source)), content, image_names=names)
        del content  # a gigabyte, for COCO's training set
        classes = source.classes
        if classes is None:  # CocoDetection takes those of the file
            classes = list(dict.fromkeys(table.category_names))
            yield from self._check_heads(source, classes)
        yield from self.track(coco.check_table(source, table), f'annotations of {source.path}', None)
        yield from check_names(source, table, classes)
        objects = _objects_of_classes(table, classes)
        yield from check_capacity(source, self.model, objects, lambda place: table.images.names[place])
        report.facts |= {'images': f'{len(table.images):,}', 'objects': f'{len(table.annotations):,}',
                         'classes': f'{len(classes)}'}
        sizes = zip(table.images.widths, table.images.heights, strict=True)
        folder = source.dataset.data_prefix.get('img') or ''
        records = [ImageRecord(os.path.join(folder, name), size) for name, size in zip(names, sizes, strict=True)]
        self.images[source.path] = [ImageFile(record.path, image_id) for record, image_id in
                                    zip(records, table.images.ids, strict=True)]
        yield from self._check_files(source, records, report)

    def _check_panoptic(self, source: DataSource, report: SourceReport) -> Iterator[Finding]:
        if source.classes is not None:
            yield from self._check_heads(source, source.classes)
        yield from _check_evaluators(source)
        content = yield from self._read(source, report)
        if content is None:
            return
        broken = list(panoptic.check_keys(source, content, _ann_file(source)))
        yield from broken
        if broken:
            return
        yield from panoptic.check_content(source, content, _ann_file(source), self.model)
        records = panoptic.records_of(source, content)
        segments = sum(len(annotation['segments_info']) for annotation in content['annotations'])
        report.facts |= {'images': f'{len(records):,}', 'segments': f'{segments:,}',
                         'classes': f'{len(source.classes or ())}'}
        self.images[source.path] = [ImageFile(record.path) for record, _, _ in records]
        yield from panoptic.check_pngs(source, records, self.folders, number=self.number, workers=self.workers,
                                       track=self.track)
        yield from self._check_files(source, [record for record, _, _ in records], report)

    def _check_segmentation(self, source: DataSource, report: SourceReport) -> Iterator[Finding]:
        if source.classes is not None:
            yield from self._check_heads(source, source.classes)
        if report.has_errors('layout.'):  # without its folders the data set cannot be listed
            return
        pairs = segmentation.list_pairs(source)
        yield from segmentation.check_listing(source, pairs, self.folders)
        report.facts |= {'images': f'{len(pairs):,}', 'classes': f'{len(source.classes or ())}'}
        self.images[source.path] = [ImageFile(image) for image, _ in pairs]
        missing = set(self.folders.missing([path for pair in pairs for path in pair if path]))
        present = [pair for pair in pairs if pair[1] and not missing & set(pair)]
        yield from segmentation.check_maps(source, sample(present, self.number), workers=self.workers,
                                           track=self.track)
        images = [ImageRecord(image) for image, _ in pairs if image not in missing]
        yield from check_images(source, self._sampled(images, report), workers=self.workers, track=self.track)

    def _check_heads(self, source: DataSource, classes: Sequence[str]) -> Iterator[Finding]:
        """The same head is wrong in the same way for training and validation: said once."""
        for finding in check_heads(source, self.model, classes):
            if (finding.where, finding.fix) not in self.reported_heads:
                self.reported_heads.add((finding.where, finding.fix))
                yield finding

    def _read(self, source: DataSource, report: SourceReport):
        """The annotation file's content, None where there is none to check; yields what is wrong with it."""
        file = Path(_ann_file(source))
        if not file.is_file():
            return None
        title = f'reading {file} ({file.stat().st_size / 2**20:.0f} MB)'
        read = partial(read_json, where=f'{source.path}.ann_file', needs_annotations=source.needs_annotations,
                       object_hook=with_short_masks if source.kind == 'coco' else None)
        ((content, findings),) = self.track(map(read, [file]), title, 1)
        yield from findings
        return content

    def _check_files(self, source: DataSource, records: list[ImageRecord], report: SourceReport) -> Iterator[Finding]:
        if report.has_errors('layout.no-data-root', 'layout.no-folder'):
            return
        where = f'{source.path}.data_prefix.img'
        yield from check_exist([record.path for record in records], self.folders, kind='images.missing',
                               what='images', where=where, data_root=source.dataset.data_root,
                               fix=f'put the images there, or set {where} to their folder, seen from data_root')
        missing = set(self.folders.missing([record.path for record in records]))
        present = [record for record in records if record.path not in missing]
        yield from check_images(source, self._sampled(present, report), workers=self.workers, track=self.track)

    def _sampled(self, records: list, report: SourceReport) -> list:
        chosen = sample(records, self.number)
        report.facts['image files read'] = f'{len(chosen):,} of {len(records):,}'
        return chosen


def _ann_file(source: DataSource) -> str:
    return in_data_root(source.settings, source.settings.get('ann_file') or '')


def _unread_prefixes(source: DataSource) -> tuple[str, ...]:
    """`data_prefix.seg` of mmdet's CocoDataset is used only by configs that load semantic maps too."""
    if source.kind == 'coco' and isinstance(source.dataset, CocoDataset) \
            and not source.transform('LoadAnnotations').get('with_seg'):
        return ('seg',)
    return ()


def _image_name(source: DataSource, image: Mapping) -> str:
    """Name of an image below the image folder, as the data set reads it."""
    if coco.is_lvis(source):
        return str(image['coco_url']).replace('http://images.cocodataset.org/', '')
    name = str(image['file_name'])
    if isinstance(source.dataset, Objects365V2Dataset):  # patch0/name.jpg
        return os.path.join(os.path.basename(os.path.dirname(name)), os.path.basename(name))
    return name


def _objects_of_classes(table: CocoTable, classes: Sequence[str]) -> np.ndarray:
    """(images,) how many objects of these classes each image has, crowds left out."""
    annotations, wanted = table.annotations, np.isin(table.category_names, list(classes))
    counted = (annotations.images >= 0) & (annotations.categories >= 0) & (annotations.crowds != 1)
    if len(wanted):
        counted &= wanted[annotations.categories]
    return np.bincount(annotations.images[counted], minlength=len(table.images))


def _check_evaluators(source: DataSource) -> Iterator[Finding]:
    """The evaluator's own annotation file: there, and the one of the data set."""
    for path, evaluator in source.evaluators:
        given = evaluator.get('ann_file')
        if not given or '://' in given:
            continue
        if not os.path.isfile(given):
            yield error('layout.no-annotation-file', f'{path}.ann_file', f'no file {os.path.abspath(given)}',
                        file=given, fix=f'{path}.ann_file={_ann_file(source)!r}')
        elif os.path.isfile(_ann_file(source)) and not os.path.samefile(given, _ann_file(source)):
            yield error('config.other-annotation-file', f'{path}.ann_file', f'results are compared with {given}, and '
                        f'{source.path} reads {_ann_file(source)}', file=given,
                        fix=f'{path}.ann_file={_ann_file(source)!r}')
