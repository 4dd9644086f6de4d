"""`tools/analysis/macroscopic_correlation.py`: how strongly the objects of data sets are related."""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detrove.evaluation.macroscopic_correlation import MacroscopicCorrelation, measure_annotations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('ann_files', nargs='+', type=Path, metavar='ANN_FILE', help='annotations in COCO format')
    parser.add_argument('--csv', type=Path, help='write the value of every image to this file')
    parser.add_argument('--plot', type=Path, help='draw the distribution over images to this file (.png, .pdf, .svg)')
    parser.add_argument('--force', action='store_true', help='write over existing files')


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='macroscopic_correlation.py',
        description='Macroscopic correlation of data sets (Relation-DETR, Hou et al. 2024): the mean absolute '
                    'correlation between the boxes of an image, from 0 for unrelated to 1.')
    add_arguments(parser)
    args = parser.parse_args(argv)
    for path in (args.csv, args.plot):
        if path is not None and path.exists() and not args.force:
            raise FileExistsError(f'{path} exists already; choose another name, or write over it with --force.')
    results = {str(path): measure_annotations(path) for path in args.ann_files}
    print(f'{"mean":>7} {"median":>7} {"images":>9}  annotations')
    for name, result in results.items():
        values = result.values
        print(f'{values.mean():7.4f} {np.median(values):7.4f} {len(values):9}  {name} (of {result.num_images} images; '
              f'{result.num_unusable} boxes left out)')
    if args.csv is not None:
        _write_csv(results, args.csv)
    if args.plot is not None:
        _plot(results, args.plot)
    return 0


def _write_csv(results: Mapping[str, MacroscopicCorrelation], path: Path) -> None:
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['annotations', 'image_id', 'macroscopic_correlation'])
        writer.writerows([name, image, value] for name, result in results.items()
                         for image, value in result.by_image.items())


def _plot(results: Mapping[str, MacroscopicCorrelation], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.add_subplot()
    for name, result in results.items():
        axes.hist(result.values, bins=80, range=(0, 1), density=True, alpha=0.5, label=Path(name).stem)
    axes.set(xlabel='macroscopic correlation', ylabel='density of images')
    axes.legend()
    figure.savefig(path)
