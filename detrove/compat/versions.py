"""Which mm packages are installed, from which family, and whether in the range detrove was tested with."""

import os
import warnings
from dataclasses import dataclass
from importlib import metadata
from typing import NamedTuple

from ..version import ONEDL, OPENMMLAB

#: import name -> distributions that own it, the onedl fork first.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
}
_already_warned = False


@dataclass(frozen=True)
class Installed:
    """An mm distribution of the environment. ``tested``: its (lowest, first untested) version, or None."""

    package: str
    distribution: str
    version: str

    @property
    def tested(self) -> tuple[str, str] | None:
        return {**ONEDL, **OPENMMLAB}.get(self.distribution)


def installed() -> list[Installed]:
    """Every mm distribution of the environment; two for one import name where both families are installed."""
    found = []
    for package, distributions in DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                found.append(Installed(package, distribution, metadata.version(distribution)))
            except metadata.PackageNotFoundError:
                continue
    return found


class Problem(NamedTuple):
    """What is wrong with an installed mm package, and the way out."""

    what: str
    remedy: str


def problems(found: list[Installed]) -> list[Problem]:
    """Versions out of the tested range, and import names that two distributions own."""
    return [*_untested(found), *_owned_twice(found)]


def warn_once() -> None:
    """Issue :func:`problems` as warnings: once, in the main process of the first rank."""
    global _already_warned
    import multiprocessing

    if _already_warned or os.environ.get('RANK', '0') != '0' or multiprocessing.parent_process() is not None:
        return
    _already_warned = True
    for problem in problems(installed()):
        warnings.warn(f'{problem.what}. {problem.remedy}', stacklevel=3)


def _untested(found: list[Installed]) -> list[Problem]:
    from packaging.version import Version

    found_problems = []
    for item in found:
        if item.tested is None:
            tested = ' or '.join(
                name for name in DISTRIBUTIONS[item.package] if name in {**ONEDL, **OPENMMLAB}
            )
            what = f'{item.distribution} {item.version}: detrove was never tested with it'
            found_problems.append(Problem(what, f'Use {tested}.'))
            continue
        lowest, first_untested = item.tested
        if not Version(lowest) <= Version(item.version) < Version(first_untested):
            requirement = f'{item.distribution}>={lowest},<{first_untested}'
            what = f'{item.distribution} {item.version} is outside the range detrove was tested with'
            found_problems.append(
                Problem(what, f"It may work; `pip install '{requirement}'` goes back to it.")
            )
    return found_problems


def _owned_twice(found: list[Installed]) -> list[Problem]:
    found_problems = []
    for package in DISTRIBUTIONS:
        owners = [item for item in found if item.package == package]
        if len(owners) > 1:
            keep, *others = owners
            names = ' and '.join(f'{owner.distribution} {owner.version}' for owner in owners)
            remove = ' '.join(owner.distribution for owner in others)
            found_problems.append(
                Problem(
                    f"`import {package}` is provided by {names}, which overwrite each other's files",
                    f'Keep one: `pip uninstall -y {remove}`, then `pip install --force-reinstall --no-deps '
                    f'{keep.distribution}=={keep.version}`.',
                )
            )
    return found_problems
