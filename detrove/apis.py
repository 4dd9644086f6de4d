"""What a notebook calls."""

from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn

from detrove.checkpoints import load_weights, read_checkpoint


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


def _classes_of(config: Config) -> dict:
    """Class names as the config's training set states them."""
    dataset = config.get('train_dataloader', {}).get('dataset', {})
    return dict(dataset.get('metainfo') or {})
