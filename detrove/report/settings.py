"""What the configuration of a run changes: against the config file of its name, and that against its base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from detrove.engine.config_check import RUNNER_KEYS
from detrove.engine.config_file import find_config, flat_settings, read_config

from .unavailable import Unavailable

_NOT_SETTINGS = {'work_dir', 'resume', 'launcher', 'log_level', 'vis_backends', 'load_from', 'partial_checkpoint_ok',
                 'allow_unsafe_checkpoint'}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A setting and its values, `None` where it is not set."""

    key: str
    values: tuple[str | None, ...]


def settings_of(cfg: Config) -> dict[str, str]:
    """Dotted key and text of every setting that a runner reads, but where it writes and what it is called."""
    chosen = {key: value for key, value in cfg.to_dict().items() if key in RUNNER_KEYS - _NOT_SETTINGS}
    return dict(flat_settings(chosen))


def differences(*settings: Mapping[str, str]) -> list[Change]:
    """The settings in which two or more configurations differ, by name."""
    keys = sorted({key for one in settings for key in one})
    rows = [Change(key, tuple(one.get(key) for one in settings)) for key in keys]
    return [row for row in rows if len(set(row.values)) > 1]


def original_config(cfg_file: Path) -> Path:
    """The config file that a run was started with: of its copy's name, among detrove's configs.

    Raises:
        Unavailable: if there is none, or several.
    """
    try:
        return find_config(cfg_file.name)
    except FileNotFoundError:
        pass
    package = Path(__file__).resolve().parent.parent
    places = (Path('configs'), package / 'configs', package.parent / 'configs')
    roots = [folder for folder in places if folder.is_dir()]
    found = {file.resolve() for root in roots for file in root.rglob(cfg_file.name)}
    if len(found) != 1:
        places = ', '.join(map(str, roots)) or Path.cwd()
        raise Unavailable(f'{len(found) or "no"} config files named {cfg_file.name} were found below {places}, so that '
                          'what the run changed is not known')
    return found.pop()


def base_settings(config: Path) -> tuple[dict[str, str], Sequence[str]]:
    """Settings of what a config file inherits, and the names of those files.

    Raises:
        Unavailable: if it inherits from nothing.
    """
    names = Config._get_base_files(str(config))
    if not names:
        raise Unavailable(f'{config.name} inherits from no other file')
    merged = Config()
    for name in names:
        file, scope = Config._get_cfg_path(name, str(config))
        merged.merge_from_dict(read_config(file).to_dict())
    return settings_of(merged), names
