"""What a person wants to know when training has ended: the result, where things lie, and how it looks."""

import tempfile
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmdet.structures.mask import PolygonMasks
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.structures import InstanceData

from .raw_evaluation import RAW

_ROW_WIDTH = 1000  # pixels, ground truth and predictions together


@HOOKS.register_module()
class SummaryHook(Hook):
    """Log the last result, the best one, the checkpoints, the log file and a picture when training has ended.

    The picture is `vis_<time>.jpg` in the work directory: a row per validation image, ground truth on the
    left, predictions of the last validation on the right.

    Args:
        num_images: Rows of the picture; the first images with objects. No picture with 0.
        score_thr: Predictions below this score are not drawn.
    """

    priority = 'LOWEST'

    def __init__(self, *, num_images: int = 4, score_thr: float = 0.3):
        self.num_images = num_images
        self.score_thr = score_thr
        self.samples = []
        self.metrics = {}
        self.trained = False

    def before_val_epoch(self, runner) -> None:
        self.samples.clear()

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if is_main_process():
            room = self.num_images - len(self.samples)
            self.samples += [sample.cpu() for sample in outputs or () if _has_objects(sample)][:room]

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.metrics = metrics or {}

    def after_train(self, runner) -> None:
        self.trained = True

    def after_run(self, runner) -> None:
        if not (self.trained and is_main_process()):
            return
        lines = self._result_lines(runner)
        for label, name in (('best checkpoint', 'best_ckpt'), ('last checkpoint', 'last_ckpt'),
                            ('best raw checkpoint', 'raw_best_ckpt'), ('last raw checkpoint', 'raw_last_ckpt')):
            if runner.message_hub.get_info(name) is not None:
                lines.append((label, runner.message_hub.get_info(name)))
        lines.append(('log', Path(runner.log_dir) / f'{runner.timestamp}.log'))
        picture = self._draw(runner)
        if picture is not None:
            lines.append(('ground truth | predictions', picture))
        width = max(len(label) for label, _ in lines)
        runner.logger.info(
            '\n'.join(['training has ended', *(f'  {label:<{width}}  {value}' for label, value in lines)])
        )

    def _result_lines(self, runner) -> list[tuple[str, str]]:
        """Last and best value of the metric that chooses the best checkpoint, or else of the first metric.

        Where `RawEvaluationHook` has evaluated the raw weights, theirs too.
        """
        chosen = [key for hook in runner.hooks for key in getattr(hook, 'key_indicators', None) or ()]
        main = next((name for name in [*chosen, *self.metrics] if name in self.metrics), None)
        if main is None:
            return []
        lines = []
        for name, kept in ((main, 'best_score'), (f'{RAW}{main}', 'raw_best_score')):
            best = runner.message_hub.get_info(kept)
            if name in self.metrics:
                lines.append((f'last {name}', f'{float(self.metrics[name]):.4f}'))
                lines += [] if best is None else [(f'best {name}', f'{float(best):.4f}')]
        return lines

    def _draw(self, runner) -> Path | None:
        if not self.samples or not hasattr(runner.visualizer, 'add_datasample'):
            return None
        meta = runner.visualizer.dataset_meta or {}
        if meta.get('palette'):  # the visualizers want exactly a list of tuples
            palette = [tuple(color) for color in meta['palette']]
            runner.visualizer.dataset_meta = {**meta, 'palette': palette}
        rows = [_header()]
        with tempfile.TemporaryDirectory() as folder:
            for index, sample in enumerate(self.samples):
                file = Path(folder) / f'{index}.png'
                self._draw_row(runner, sample, file)
                row = mmcv.imread(str(file))
                height = max(1, round(row.shape[0] * _ROW_WIDTH / row.shape[1]))
                rows.append(mmcv.imresize(row, (_ROW_WIDTH, height), interpolation='area'))
        picture = Path(runner.work_dir) / f'vis_{runner.timestamp}.jpg'
        mmcv.imwrite(np.concatenate(rows), str(picture))
        return picture

    def _draw_row(self, runner, sample, out_file: Path) -> None:
        options = {}
        image = mmcv.imread(sample.img_path, channel_order='rgb')
        if 'pred_instances' in sample:
            options['pred_score_thr'] = self.score_thr
            truth = _true_instances(runner.val_dataloader.dataset, sample.img_path)
            if truth is not None:
                sample.gt_instances = truth
        runner.visualizer.add_datasample(
            'summary',
            image,
            data_sample=sample,
            out_file=str(out_file),
            **options,
        )


def _header() -> np.ndarray:
    header = np.full((32, _ROW_WIDTH, 3), 255, dtype=np.uint8)
    for left, text in ((8, 'ground truth'), (_ROW_WIDTH // 2 + 8, 'predictions')):
        cv2.putText(header, text, (left, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return header


def _has_objects(sample) -> bool:
    return 'gt_instances' not in sample or len(sample.gt_instances) > 0


def _true_instances(dataset, img_path: str) -> InstanceData | None:
    """The annotated objects of an image in its own pixels; those in the sample went through the pipeline."""
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        if info.get('img_path') == img_path:
            break
    else:
        return None
    instances = [one for one in info.get('instances', ()) if not one.get('ignore_flag', 0)]
    if not instances:
        return None
    truth = InstanceData(
        bboxes=np.array([one['bbox'] for one in instances], dtype=np.float32),
        labels=np.array([one['bbox_label'] for one in instances]),
    )
    if all(isinstance(one.get('mask'), list) for one in instances):
        polygons = [[np.asarray(part, dtype=np.float32) for part in one['mask']] for one in instances]
        truth.masks = PolygonMasks(polygons, info['height'], info['width'])
    return truth
