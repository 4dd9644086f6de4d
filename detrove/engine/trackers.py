"""Experiment trackers by one key of a config: `log_to='tensorboard'`, `'wandb'`, `'mlflow'` or a list of them."""

import importlib.util
import os
import re
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.visualization import MLflowVisBackend

# name -> backend, the module it imports, the package to install
TRACKERS = {
    'tensorboard': ('TensorboardVisBackend', 'tensorboard', 'tensorboard'),
    'wandb': ('WandbVisBackend', 'wandb', 'wandb'),
    'mlflow': ('NamedMLflowVisBackend', 'mlflow', 'mlflow'),
}


@VISBACKENDS.register_module()
class NamedMLflowVisBackend(MLflowVisBackend):
    """mmengine's, with metrics named as MLflow allows it.

    For one name with an `@`, such as COCO's `bbox_AR@100`, MLflow refuses all metrics of a validation.
    """

    def add_scalar(self, name: str, value, step: int = 0, **kwargs) -> None:
        """As mmengine's; `@` and the like become `_`."""
        super().add_scalar(_allowed(name), value, step, **kwargs)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        """As mmengine's; `@` and the like in names become `_`."""
        named = {_allowed(name): value for name, value in scalar_dict.items()}
        super().add_scalars(named, step, file_path, **kwargs)


def _allowed(name: str) -> str:
    return re.sub(r'[^\w\-. /]', '_', name)


def add_trackers(cfg: Config) -> None:
    """Let the config's visualizer send what is logged to the trackers in `log_to` too.

    A backend of the same kind that the config has already keeps its settings.

    Args:
        cfg: A config with `work_dir`. Its `log_to` is a name, names with commas between, or a list; missing or None
            for no tracker.

    Raises:
        ValueError: If a name is unknown.
        ModuleNotFoundError: If a tracker's package is not installed; names it.
    """
    names = _names(cfg.get('log_to'))
    if not names:
        return
    visualizer = dict(cfg.get('visualizer') or dict(type='Visualizer'))
    backends = list(visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
    present = {str(backend['type']).rpartition('.')[2] for backend in backends}
    for name in names:
        kind, module, package = TRACKERS[name]
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"log_to='{name}': the package {package} is not installed. Run pip install "
                                      f'{package}, or leave log_to out.')
        if not any(one.endswith(kind.removeprefix('Named')) for one in present):
            backends.append(dict(type=kind, **_settings(name, Path(cfg.work_dir).absolute())))
    cfg.visualizer = dict(visualizer, vis_backends=backends)


def _names(log_to: str | list[str] | None) -> list[str]:
    names = log_to.split(',') if isinstance(log_to, str) else list(log_to or ())
    names = [str(name).strip() for name in names]
    unknown = [name for name in names if name not in TRACKERS]
    if unknown:
        raise ValueError(f'log_to={log_to!r}: {", ".join(map(repr, unknown))} is no tracker. Choose from '
                         f'{", ".join(TRACKERS)}; several as a list.')
    return list(dict.fromkeys(names))


def _settings(name: str, work_dir: Path) -> dict:
    """A run is called as its work directory is, where the tracker's own environment variable does not name it."""
    if name == 'wandb' and 'WANDB_NAME' not in os.environ:
        return dict(init_kwargs=dict(name=work_dir.name))
    if name != 'mlflow':
        return {}
    if 'MLFLOW_TRACKING_URI' in os.environ:  # mmengine looks at its own setting alone
        return dict(tracking_uri=os.environ['MLFLOW_TRACKING_URI'], run_name=work_dir.name)
    # mmengine's own choice, a store of files, is refused by MLflow 3; logs and configs lie beside the store already.
    return dict(tracking_uri=f'sqlite:///{(work_dir / "mlflow.db").as_posix()}', exp_name='detrove',
                run_name=work_dir.name, artifact_location=(work_dir / 'mlruns').as_uri(), artifact_suffix=())
