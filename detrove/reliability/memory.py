"""Memory of this computer while thousands of images are tested, by a model that costs nothing.

    python -m detrove.reliability.memory --images 5000 --detections 100
    python -m detrove.reliability.memory --images 1000 --detections 100 --masks

Drawn images go through the data loader, the model's detections through the evaluation, as in `detrove test`. Read from
/proc; this needs Linux.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

import detrove.datasets  # noqa: F401  registers what the config names
import detrove.evaluation  # noqa: F401  registers the metrics

from .kill import _folder

_MIB = 2**20
_SAMPLES = 40


@MODELS.register_module()
class GuessingDetector(BaseModel):
    """Finds as many boxes as it is told in every image, anywhere, and masks that fill a part of them.

    Args:
        detections: per image.
        masks: whether to give masks, as large as the image.
        num_classes: labels are below it.
    """

    def __init__(self, *, detections: int, masks: bool, num_classes: int, data_preprocessor: dict | None = None):
        super().__init__(data_preprocessor)
        self.detections, self.masks, self.num_classes = detections, masks, num_classes
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs: torch.Tensor, data_samples: list, mode: str = 'predict') -> list:
        for sample in data_samples:
            height, width = sample.ori_shape
            # more candidates than detections, as most models have: results are views of what they were chosen from
            corners = torch.rand(10 * self.detections, 2, 2).sort(1).values * torch.tensor([width, height])
            scores = torch.rand(len(corners))
            found = InstanceData(bboxes=corners.flatten(1), scores=scores,
                                 labels=torch.randint(self.num_classes, (len(corners),)))[:self.detections]
            if self.masks:
                found.masks = torch.zeros(self.detections, height, width, dtype=torch.bool)
                for mask, (left, top, right, bottom) in zip(found.masks, found.bboxes.int().tolist(), strict=True):
                    mask[top:bottom, (left + right) // 2 : right] = True
            sample.pred_instances = found
        return data_samples


@dataclass
class MemoryHook(Hook):
    """Notes the memory of the process some times in a test.

    Attributes:
        samples: (images, bytes), equally far from one another.
    """

    samples: list[tuple[int, int]] = field(default_factory=list)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        every = max(1, len(runner.test_dataloader) // _SAMPLES)
        if (batch_idx + 1) % every == 0:
            gc.collect()
            self.samples.append(((batch_idx + 1) * runner.test_dataloader.batch_size, memory_of_process('VmRSS')))


def memory_of_process(name: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (at most, since the process started)."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024
    raise ValueError(f'/proc/self/status has no {name}')


def evaluation_config(folder: Path, *, images: int, detections: int, masks: bool, workers: int = 1) -> Config:
    """The config of a test of `GuessingDetector`; draws the images on first use."""
    from detrove.datasets.shapes import ensure_shapes
    from detrove.datasets.shapes_drawing import CLASSES, ShapesSettings

    data = ensure_shapes(folder / 'shapes', ShapesSettings(num_train=1, num_val=images, sizes_hw=((64, 64),),
                                                           diameter=(12, 40)))
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))]
    dataset = dict(type='CocoDetection', metainfo=dict(classes=CLASSES), data_root=str(data), test_mode=True,
                   ann_file='annotations/val.json', data_prefix=dict(img='images/val/'), pipeline=pipeline)
    return Config(dict(
        default_scope='mmdet', work_dir=str(folder / 'work'), log_level='WARNING', experiment_name='memory',
        model=dict(type='GuessingDetector', detections=detections, masks=masks, num_classes=len(CLASSES),
                   data_preprocessor=dict(type='DetDataPreprocessor')),
        test_dataloader=dict(batch_size=8, num_workers=workers, dataset=dataset,
                             sampler=dict(type='DefaultSampler', shuffle=False)),
        test_evaluator=dict(type='CocoEvaluation', ann_file=str(data / 'annotations/val.json'),
                            metric=['bbox', 'segm'] if masks else ['bbox']),
        test_cfg=dict(type='TestLoop'), env_cfg=dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))))


def run_test(config: Config, hook: Hook):
    """Test with one hook more; the runner, which has the evaluator."""
    from detrove.engine.runner import DetroveRunner

    runner = DetroveRunner.from_cfg(config)
    runner.register_hook(hook)
    runner.test()
    return runner


def bytes_per_image(samples: Sequence[tuple[int, int]]) -> float:
    """Growth from the second quarter of a test to its end, the first being warm-up."""
    (first, before), (last, after) = samples[len(samples) // 4], samples[-1]
    return (after - before) / (last - first)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m detrove.reliability.memory',
                                     description=__doc__.partition('\n')[0])
    parser.add_argument('--images', type=int, default=5000, help='%(default)s')
    parser.add_argument('--detections', type=int, default=100, help='per image (%(default)s)')
    parser.add_argument('--masks', action='store_true')
    parser.add_argument('--folder', type=Path, help='keep the images here')
    args = parser.parse_args(argv)
    with _folder(args.folder) as folder:
        config = evaluation_config(folder, images=args.images, detections=args.detections, masks=args.masks)
        hook = MemoryHook()
        run_test(config, hook)
    level = [f'{images} images: {size / _MIB:.0f} MiB' for images, size in hook.samples[:: _SAMPLES // 4]]
    print('while predicting, ' + ', '.join(level))
    most, now = (memory_of_process(name) / _MIB for name in ('VmHWM', 'VmRSS'))
    print(f'{bytes_per_image(hook.samples) / 1024:.2f} KiB per image; at most {most:.0f} MiB with the metrics, '
          f'{now:.0f} MiB afterwards')
    return 0


if __name__ == '__main__':
    sys.exit(main())
