"""`python -m detrove.benchmark.data`: start-up, batches, evaluation, and the pipelines of the data configs."""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import Compose, DefaultSampler
from mmengine.runner import Runner

import detrove.datasets
from detrove.datasets import BucketBatchSampler

from .data_made import (
    CLASSES,
    SIZES_HW,
    make_annotations,
    make_photographs,
    make_predictions,
    write_coco_folder,
)
from .data_stock import STOCK


def start_up(args: argparse.Namespace) -> None:
    """Seconds from a config to the first batch: mmdet's data set, ours, ours from its cache. Imports not counted."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_coco_folder(root, args.images, args.images * 860001 // 118287)
        time.sleep(2)  # a file that has just changed is not cached
        for name in ('CocoDataset', 'CocoDetection', 'CocoDetection'):
            clock, cpu = time.perf_counter(), time.process_time()
            dataset = dict(
                type=name, data_root=str(root), ann_file='train.json', data_prefix=dict(img='images'),
                metainfo=dict(classes=CLASSES),
                pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
                          dict(type='Resize', scale=(640, 640)), dict(type='PackDetInputs')])
            loader = Runner.build_dataloader(dict(
                dataset=DATASETS.build(dataset), batch_size=2, num_workers=2,
                sampler=dict(type='DefaultSampler', shuffle=True)), seed=0)
            next(iter(loader))
            print(f'{name:14} {time.perf_counter() - clock:6.2f} s, {time.process_time() - cpu:6.2f} s of CPU')


def pipelines(args: argparse.Namespace) -> None:
    """Milliseconds of CPU of each transform of training pipelines on photographs of 640 x 480, interleaved."""
    contestants = {path: Config.fromfile(path).train_dataloader.dataset.pipeline for path in args.configs}
    contestants |= {f'mmdet {name}': STOCK[name] for name in args.stock}
    transforms = {name: Compose(pipeline).transforms for name, pipeline in contestants.items()}
    spent = {name: np.zeros((args.rounds, len(pipeline))) for name, pipeline in contestants.items()}
    with tempfile.TemporaryDirectory() as folder:
        images = _loadable(Path(folder))
        for turn in range(-len(images), args.rounds):  # the first turns fill tables and caches
            for name in contestants:
                np.random.seed(turn + len(images))
                results = copy.deepcopy(images[turn % len(images)])
                for index, transform in enumerate(transforms[name]):
                    start = time.process_time()
                    results = transform(results)
                    if turn >= 0:
                        spent[name][turn, index] = time.process_time() - start
                    if results is None:
                        break
    for name, seconds in spent.items():
        print(f'\n{name}: {1 / seconds.sum(1).mean():.1f} images/s on one core')
        for index, transform in enumerate(transforms[name]):
            print(f'  {seconds[:, index].mean() * 1e3:7.2f} ms  {type(transform).__name__}')


def _loadable(folder: Path) -> list[dict]:
    """Photographs with eight objects each on average, as a data set gives them to its pipeline."""
    files = dict(zip(SIZES_HW, make_photographs(folder), strict=True))
    content = make_annotations(12, 8 * 12, polygons=False)
    instances = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        instances[annotation['image_id']].append(
            dict(bbox=[x, y, x + width, y + height], bbox_label=0, ignore_flag=0))
    return [
        dict(img_path=str(files[image['height'], image['width']]), img_id=image['id'], height=image['height'],
             width=image['width'], instances=instances[image['id']])
        for image in content['images']]


def evaluation(args: argparse.Namespace) -> None:
    """Seconds of CPU from predictions to COCO's numbers, files read and everything converted, by each backend."""
    from detrove.evaluation import CocoEvaluation

    content = make_annotations(args.images, args.images * 36781 // 5000, polygons=False)
    predictions = make_predictions(content, 100)
    numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        from detrove.datasets.json_bytes import to_json

        file = Path(folder) / 'truth.json'
        file.write_bytes(to_json(content))
        for backend in ('faster_coco_eval', 'pycocotools'):
            start = time.process_time()
            metric = CocoEvaluation(ann_file=str(file), max_dets=100, backend=backend, classwise=False)
            metric.dataset_meta = dict(classes=CLASSES)
            metric.process({}, predictions)
            numbers[backend] = metric.evaluate(len(predictions))
            seconds = time.process_time() - start
            difference = max(abs(value - numbers['faster_coco_eval'][name]) for name, value in numbers[backend].items())
            print(f'{backend:18} {seconds:7.2f} s of CPU, largest difference {difference:.1e}', flush=True)


def batches(args: argparse.Namespace) -> None:
    """Share of padding and number of shapes in batches of images resized to 800 by at most 1333."""
    content = make_annotations(args.images, 0, polygons=False)

    class Images:
        def __len__(self) -> int:
            return len(content['images'])

        def get_data_info(self, index: int) -> dict:
            return content['images'][index]

    plain = torch.utils.data.BatchSampler(DefaultSampler(Images(), seed=0), args.batch_size, False)
    bucketed = BucketBatchSampler(DefaultSampler(Images(), seed=0), args.batch_size)
    for name, sampler in (('as they come', plain), ('BucketBatchSampler', bucketed)):
        shown = total = 0
        shapes = set()
        for batch in sampler:
            sizes_hw = np.array([(content['images'][i]['height'], content['images'][i]['width']) for i in batch])
            scale = np.minimum(800 / sizes_hw.min(1), 1333 / sizes_hw.max(1))
            sizes_hw = (sizes_hw * scale[:, None]).round().astype(int)
            padded_hw = -(-sizes_hw.max(0) // 32) * 32
            shapes.add(tuple(padded_hw))
            shown, total = shown + sizes_hw.prod(1).sum(), total + len(batch) * padded_hw.prod()
        print(f'{name:18} {1 - shown / total:6.1%} padding, {len(shapes)} shapes')


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog='python -m detrove.benchmark.data', description=__doc__)
    parts = parser.add_subparsers(required=True)

    def add(name: str, run: Callable, **images) -> argparse.ArgumentParser:
        part = parts.add_parser(name, description=run.__doc__)
        part.set_defaults(run=run)
        if images:
            part.add_argument('--images', type=int, **images)
        return part

    add('start-up', start_up, default=118287)
    add('evaluation', evaluation, default=5000)
    add('batches', batches, default=20000).add_argument('--batch-size', type=int, default=4)
    part = add('pipelines', pipelines)
    part.add_argument('configs', nargs='*', help='config files with a train_dataloader')
    part.add_argument('--stock', nargs='*', default=(), choices=STOCK, help="mmdet's transforms for the same")
    part.add_argument('--rounds', type=int, default=120)
    args = parser.parse_args(argv)
    register_all_modules()
    torch.set_num_threads(1)  # as in the workers of a loader
    cv2.setNumThreads(0)
    assert detrove.datasets  # registered
    args.run(args)


if __name__ == '__main__':
    main()
