"""What a person names on the command line: a work directory, or a file with predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from detrove.engine.config_check import load_config

_RESULT_SUFFIXES = ('.json', '.pkl', '.pickle')


@dataclass(frozen=True)
class Run:
    """A trained model and where its parts lie.

    Attributes:
        name: short, for tables; of several runs each has its own.
        cfg: with `--cfg-options` written into it.
        config_file: where it was read.
        work_dir: folder of the training; None for a file with predictions alone.
        checkpoint: weights to predict with; None for a file with predictions.
        chosen: how the checkpoint was chosen.
        results: file with predictions, or None.
    """

    name: str
    cfg: Config
    config_file: Path
    work_dir: Path | None = None
    checkpoint: Path | None = None
    chosen: str = ''
    results: Path | None = None

    @property
    def is_segmentation(self) -> bool:
        """Whether every pixel gets a class (MMSegmentation), by the default scope."""
        return self.cfg.get('default_scope') == 'mmseg'


def find_runs(names: list[str], *, config: str | None = None, cfg_options: Mapping | None = None) -> list[Run]:
    """The runs of a command line.

    Args:
        names: work directories, or files that `tools/test.py --out` wrote.
        config: config file, needed for files with predictions; for work directories it replaces their own.
        cfg_options: dotted key to value, written into every config.

    Raises:
        FileNotFoundError, ValueError: if something is not there, or is not what it should be.
    """
    paths = [Path(name).expanduser() for name in names]
    labels = _distinct_names(paths)
    return [_from_folder(path, label, config, cfg_options) if path.is_dir()
            else _from_results(path, label, config, cfg_options)
            for path, label in zip(paths, labels, strict=True)]


def _from_folder(path: Path, label: str, config: str | None, cfg_options: Mapping | None) -> Run:
    config_file = Path(config) if config is not None else _config_of(path)
    checkpoint, chosen = _checkpoint_of(path)
    cfg = load_config(str(config_file), cfg_options)
    return Run(label, cfg, config_file, work_dir=path, checkpoint=checkpoint, chosen=chosen)


def _from_results(path: Path, label: str, config: str | None, cfg_options: Mapping | None) -> Run:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such work directory or file with predictions (looked from {Path.cwd()})')
    if path.suffix not in _RESULT_SUFFIXES:
        raise ValueError(f'{path}: neither a work directory nor predictions ({", ".join(_RESULT_SUFFIXES)}) as '
                         'tools/test.py --out writes them. For a checkpoint: tools/test.py CONFIG CHECKPOINT --report')
    if config is None:
        raise ValueError(f'{path}: predictions do not say what they are of. Pass --config CONFIG, whose test set they '
                         'were made on.')
    return Run(label, load_config(config, cfg_options), Path(config), results=path)


def _config_of(work_dir: Path) -> Path:
    """The copy of the config that the last training wrote."""
    files = sorted(work_dir.glob('*.py'), key=lambda file: file.stat().st_mtime)
    if not files:
        raise FileNotFoundError(f'{work_dir} has no config file (*.py), which training writes there. Name one with '
                                '--config, or pass the work directory of a training.')
    return files[-1]


def _checkpoint_of(work_dir: Path) -> tuple[Path, str]:
    best = sorted(work_dir.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    if best:
        return best[-1], 'best'
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():  # its path may be of another machine
        last = work_dir / Path(pointer.read_text(encoding='utf-8').strip()).name
        if last.is_file():
            return last, 'last, for there is no best one'
    others = sorted(work_dir.glob('*.pth'), key=lambda file: file.stat().st_mtime)
    if others:
        return others[-1], 'newest, for none is named best or last'
    raise FileNotFoundError(f'{work_dir} has no checkpoint (*.pth): the training was stopped before it saved one. '
                            'For a checkpoint elsewhere: tools/test.py CONFIG CHECKPOINT --report')


def _distinct_names(paths: list[Path]) -> list[str]:
    """The last part of each path, with as many before it as tell them apart; numbered where nothing does."""
    resolved = [path.resolve().parts for path in paths]
    for count in range(1, max(map(len, resolved), default=1) + 1):
        names = ['/'.join(parts[-count:]) for parts in resolved]
        if len(set(names)) == len(names):
            return names
    return [f'{parts[-1]} ({index + 1})' for index, parts in enumerate(resolved)]
