"""Predictions of a run: made once, kept beside the checkpoint, or read from a file."""

import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import BaseMetric

from detrove.evaluation.coco_format import compact_prediction
from detrove.version import __version__

from .result_files import read_results
from .run import Run
from .test_set import TestSet

KEPT_FILE = 'report_predictions.npz'
_FORMAT = 1
# what predictions depend on beside the weights
_RELEVANT = ('model', 'test_dataloader', 'test_evaluator', 'test_cfg', 'default_scope', 'tta_model', 'tta_pipeline')


@dataclass(frozen=True)
class Predictions:
    """What a model found in the images of its test set.

    Attributes:
        images: per image `img_id`, `bboxes` (n, 4) xyxy, `scores`, `labels`, and `masks` of a model that has them.
        metrics: what the evaluators of the config say; empty for a file with predictions.
        origin: where and how they were made, in words.
        num_parameters: of the model, None if not known.
    """

    images: Sequence[Mapping]
    metrics: Mapping[str, float]
    origin: str
    num_parameters: int | None = None


class PredictionCollector(BaseMetric):
    """Keeps every prediction of a test, and hands them over as `predictions` when it ends."""

    default_prefix = 'report'

    def __init__(self):
        super().__init__(collect_device='cpu')
        self.predictions = None

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        self.results.extend(compact_prediction(sample) for sample in data_samples)

    def compute_metrics(self, results: Sequence[dict]) -> dict:
        self.predictions = list(results)
        return {}


def predictions_of(run: Run, test_set: TestSet) -> Predictions:
    """Predictions of a run: from its file, from what an earlier report kept, or made now and kept."""
    if run.results is not None:
        return Predictions(read_results(run.results, test_set), {}, f'read from {run.results}')
    kept = run.work_dir / KEPT_FILE
    key = cache_key(run.cfg, run.checkpoint)
    found = load_predictions(kept, key)
    if found is not None:
        print(f'{run.name}: predictions from {kept}', flush=True)
        return found
    found = predict(run)
    save_predictions(kept, key, found)
    return found


def predict(run: Run) -> Predictions:
    """Test a run's checkpoint on the test set of its config."""
    cfg = test_config(run.cfg, run.checkpoint)
    collector = PredictionCollector()
    with tempfile.TemporaryDirectory() as folder:  # a test's logs are of no use in the folder of the training
        cfg.work_dir = folder
        runner, metrics = run_test(cfg, collector)
    return collected(collector, runner, metrics, run.checkpoint)


def test_config(cfg: Config, checkpoint: Path) -> Config:
    """A copy of a config, set to test a checkpoint as `tools/test.py` does."""
    cfg = cfg.copy()
    cfg.load_from = str(checkpoint)
    cfg.resume = False
    cfg.launcher = 'none'
    cfg.log_level = 'WARNING'  # below are the config, once more, and tables that the report has
    # mmengine keeps what has the same name, with the folder of the run before
    cfg.experiment_name = f'report-{uuid.uuid4().hex[:8]}'
    cfg.visualizer = dict(type='Visualizer', name=cfg.experiment_name)
    cfg.partial_checkpoint_ok = False
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'EMAHook']
    return cfg


def run_test(cfg: Config, collector: BaseMetric):
    """Test, and let `collector` see every prediction; the runner and its metrics."""
    from detrove.engine.config_check import check_config
    from detrove.engine.runner import build_runner

    check_config(cfg, mode='test')
    print(f'testing {cfg.load_from}', flush=True)
    runner = build_runner(cfg)
    runner.test_evaluator.metrics.append(collector)
    collector.dataset_meta = runner.test_dataloader.dataset.metainfo
    return runner, runner.test()


def collected(collector: PredictionCollector, runner, metrics: Mapping, checkpoint: Path | str) -> Predictions:
    """The predictions that a test has left in the collector."""
    import torch

    device = next(runner.model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type.upper()
    return Predictions(
        images=collector.predictions,
        metrics={key: float(value) for key, value in metrics.items() if np.isscalar(value)},
        origin=f'made with {Path(checkpoint).name} on {time.strftime("%Y-%m-%d %H:%M")}, {name}, '
               f'detrove {__version__}, torch {torch.__version__}',
        num_parameters=sum(parameter.numel() for parameter in runner.model.parameters()),
    )


def cache_key(cfg: Config, checkpoint: Path | str) -> str:
    """Changes when the weights or the settings of the test change."""
    digest = hashlib.sha256(repr({name: cfg.get(name) for name in _RELEVANT}).encode())
    with open(checkpoint, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_predictions(file: Path, key: str, predictions: Predictions) -> None:
    """Keep predictions in one compressed file; boxes and scores in single precision, as models give them."""
    images = predictions.images
    about = dict(format=_FORMAT, key=key, metrics=dict(predictions.metrics), origin=predictions.origin,
                 num_parameters=predictions.num_parameters, img_ids=[_plain(one['img_id']) for one in images])
    if images and all('masks' in one for one in images):
        about['masks'] = [one['masks'] for one in images]
    arrays = {name: np.concatenate([np.asarray(one[name]) for one in images]) if images else np.zeros(0)
              for name in ('bboxes', 'scores', 'labels')}
    counts = np.array([len(one['scores']) for one in images])
    np.savez_compressed(file, about=np.array(json.dumps(about)), counts=counts, **arrays)


def load_predictions(file: Path, key: str) -> Predictions | None:
    """Predictions that were kept under this key, None if there are none."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            about = json.loads(str(content['about']))
            if about['format'] != _FORMAT or about['key'] != key:
                return None
            ends = np.cumsum(content['counts'])[:-1]
            columns = {name: np.split(content[name], ends) for name in ('bboxes', 'scores', 'labels')}
    except (ValueError, KeyError, OSError, EOFError):  # written by half
        return None
    images = [dict(zip(columns, row, strict=True), img_id=img_id)
              for img_id, row in zip(about['img_ids'], zip(*columns.values(), strict=True), strict=True)]
    for image, masks in zip(images, about.get('masks', ()), strict=False):
        image['masks'] = masks
    return Predictions(images, about['metrics'], about['origin'], about['num_parameters'])


def _plain(value):
    return value.item() if hasattr(value, 'item') else value
