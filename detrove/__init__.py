"""detrove: detection and segmentation training on the OpenMMLab libraries, with nothing to compile.

Importing it is cheap (no torch). It makes ``mmcv.ops``, ``mmdet.models`` and ``mmseg.models`` importable
where mmcv's compiled extension is missing; ``import detrove.projects`` registers every model.
"""

import os
import sys

import detrove_boot

from .version import __version__

__all__ = ['TimmBackbone', '__version__', 'init_model']

_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if all(os.path.isfile(os.path.join(_root, *parts)) for parts in (('setup.py',), ('projects', '__init__.py'))):
    # A checkout, where `projects` and `configs` lie beside this package; a wheel has them inside.
    __path__.append(_root)

if detrove_boot.install() and not sys.modules.keys().isdisjoint(detrove_boot.MM_PACKAGES):
    from .compat.repair import repair_earlier_imports

    repair_earlier_imports()


def __getattr__(name: str):
    if name == 'init_model':
        from .apis import init_model

        return init_model
    if name == 'TimmBackbone':
        from .backbones import TimmBackbone

        return TimmBackbone
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
