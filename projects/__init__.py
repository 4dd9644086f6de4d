"""One folder per paper. Importing ``detrove.projects`` registers the shared modules, then those of papers.

A checkout also offers this package as top-level ``projects``, the way OpenMMLab users write
``custom_imports = dict(imports=['projects.rt_detr'])``. That is another name for the same modules, never a
second copy.
"""

import importlib
import pkgutil

#: packages of detrove whose import registers modules.
_SHARED = ('assigners', 'backbones', 'datasets', 'detectors', 'engine', 'evaluation', 'layers', 'losses')


def _register_modules() -> None:
    for package in _SHARED:
        importlib.import_module(f'detrove.{package}')
    for paper in pkgutil.iter_modules(__path__):
        if paper.ispkg:
            importlib.import_module(f'{__name__}.{paper.name}')


if __name__ == 'projects':
    import detrove_boot

    importlib.import_module('detrove.projects')
    detrove_boot.alias('projects', 'detrove.projects')
else:
    from detrove.compat import check_environment

    check_environment()
    _register_modules()
