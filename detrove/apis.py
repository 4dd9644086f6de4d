"""What a notebook calls."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import nn

from detrove.checkpoints import load_weights, read_checkpoint
from detrove.datasets.wrappers import innermost_settings


def build_model(config: str | Path | Config, cfg_options: dict | None = None) -> nn.Module:
    """The model of a config, with fresh weights and without loading anything.

    Args:
        config: config file or object.
        cfg_options: changes, e.g. `{'model.decoder.eval_layers': 3}`.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    from mmdet.registry import MODELS

    import detrove.projects  # noqa: F401  registers every module

    if not isinstance(config, Config):
        if not Path(config).is_file():
            raise FileNotFoundError(f'config {config} does not exist (looked in {Path.cwd()}).')
        config = Config.fromfile(config)
    if cfg_options:
        config = config.copy()
        config.merge_from_dict(cfg_options)
    scope = config.get('default_scope', 'mmdet')
    init_default_scope(scope)
    if scope == 'mmseg':
        from mmseg.registry import MODELS
    model = MODELS.build(config.model)
    model.cfg = config
    return model


def init_model(config: str | Path | Config, checkpoint: str | Path | None = None, device: str = 'cpu',
               cfg_options: dict | None = None) -> nn.Module:
    """A model ready for inference.

    Args:
        config: config file or object.
        checkpoint: weights of this project or an official file of the same paper; None for fresh weights.
        device: where to put the model.
        cfg_options: changes to the config.

    Returns:
        The model in eval mode; `model.cfg` is its config, `model.dataset_meta` the class names as far as known.

    Raises:
        ValueError: if the checkpoint does not fit the model; lists what does not.
    """

    model = build_model(config, cfg_options)
    model.dataset_meta = _classes_of(model.cfg)
    if checkpoint is not None:
        loaded = read_checkpoint(str(checkpoint))
        load_weights(model, loaded['state_dict'], source=str(checkpoint), must_be_complete=True)
        model.dataset_meta = loaded.get('meta', {}).get('dataset_meta') or model.dataset_meta
    return revert_sync_batchnorm(model).to(device).eval()


def inference(model: nn.Module, inputs: str | Path | np.ndarray | Iterable[str | Path | np.ndarray], *,
              batch_size: int = 1, score_thr: float = 0.0, tile: int | None = None,
              overlap: float = 0.2) -> list[BaseDataElement]:
    """Run a model on images, with the test pipeline of its config.

    Args:
        model: As `init_model` returns it.
        inputs: An image or several: files, folders, patterns such as `images/*.jpg`, or arrays (H, W, 3) in BGR, 0 to
            255, as `cv2.imread` returns them.
        batch_size: How many the model gets at once.
        score_thr: Detections with lower scores are dropped, 0 to 1.
        tile, overlap: Detect in overlapping squares of `tile` pixels and merge the boxes, for large images of small
            objects; neighbours have at least this share of their side in common.

    Returns:
        A `DetDataSample` (mmdet) or `SegDataSample` (mmseg) of each image, on the CPU. Files are in the order of
        `inputs`, sorted within a folder; `img_path` tells them apart. Boxes are xyxy in pixels of the original image.

    Raises:
        FileNotFoundError: if an input is nowhere or holds no images.
        ValueError: if a file is no image, or an array has another shape.
    """
    from detrove.inference import find_images, predict_images

    single = isinstance(inputs, (str, Path, np.ndarray))
    images = []
    for given in [inputs] if single else inputs:
        images += [given] if isinstance(given, np.ndarray) else [image.path for image in find_images([given])]
    return list(predict_images(model, images, batch_size=batch_size, score_thr=score_thr, tile=tile,
                               overlap=overlap))


def _classes_of(config: Config) -> dict:
    """Class names and colours as the training set states them, in the config or as its class does."""
    dataset = innermost_settings(config.get('train_dataloader', {}).get('dataset', {}))
    kind = dataset.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(config.get('default_scope', 'mmdet')) as registry:
            kind = registry.get(kind)
    stated = dict(dataset.get('metainfo') or {})
    return stated if 'classes' in stated else {**getattr(kind, 'METAINFO', {}), **stated}
