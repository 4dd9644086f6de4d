"""Switches mmpretrain's multimodal half off where the installed transformers cannot run it.

mmpretrain decides by ``transformers>=4.28`` alone. With transformers 5, or one whose own dependencies are
missing, its import fails half-way and takes ``mmdet.models`` and ``mmseg.models`` with it. Here the decision
is made again after ``mmpretrain.utils.dependency`` was loaded and before anything read it.
"""

import sys
from importlib import import_module, metadata

#: What mmpretrain's multimodal models were written against.
WORKS_WITH = 'transformers>=4.53,<5'
_FIRST_UNSUPPORTED_MAJOR = 5
_PACKAGE = 'mmpretrain.models.multimodal'
#: Modules of transformers that mmpretrain.models imports as soon as the multimodal half is on.
_NEEDED_MODULES = ('transformers.modeling_utils', 'transformers.models.auto.auto_factory')

_why_off: str | None = None
_placeholders: set[str] = set()


def check_multimodal(dependency) -> None:
    """Correct ``WITH_MULTIMODAL`` and the placeholders of the just loaded ``mmpretrain.utils.dependency``."""
    global _why_off
    _why_off = _why_unusable()
    if _why_off is not None and getattr(dependency, 'WITH_MULTIMODAL', False):
        dependency.WITH_MULTIMODAL = False
    if not getattr(dependency, 'WITH_MULTIMODAL', True):
        _why_off = (
            _why_off
            or 'mmpretrain found one of its multimodal requirements missing (pycocotools, transformers)'
        )
        dependency.register_multimodal_placeholder = _register_placeholders


def explain_absence(multimodal) -> None:
    """Let the just loaded ``mmpretrain.models.multimodal`` say why it has no models, where it has none."""
    if _why_off is None:
        return

    def __getattr__(name):
        if name in _placeholders:
            raise ImportError(_message(f'mmpretrain.models.multimodal.{name}'))
        raise AttributeError(f'module {_PACKAGE!r} has no attribute {name!r}')

    multimodal.__getattr__ = __getattr__


def refuse_multimodal(name: str) -> None:
    """Raise ImportError for a module below ``mmpretrain.models.multimodal`` while that half is off."""
    if _why_off is not None:
        raise ImportError(_message(name), name=name)


def multimodal_status() -> str | None:
    """None if mmpretrain's multimodal half can be used here, else the reason why not."""
    if 'mmpretrain.utils.dependency' in sys.modules:
        return _why_off
    return _why_unusable()


def _why_unusable() -> str | None:
    try:
        version = metadata.version('transformers')
    except metadata.PackageNotFoundError:
        return 'transformers is not installed'
    if int(version.partition('.')[0]) >= _FIRST_UNSUPPORTED_MAJOR:
        return f'transformers {version} is installed'
    for name in _NEEDED_MODULES:
        try:
            import_module(name)
        except Exception as error:  # a broken transformers raises whatever its own dependencies raise
            return f'transformers {version} does not import here ({type(error).__name__}: {error})'
    return None


def _message(what: str) -> str:
    return (
        f'{what} is switched off: {_why_off}, and the multimodal models of mmpretrain need {WORKS_WITH}. '
        f"`pip install '{WORKS_WITH}'` switches them on; everything else in mmpretrain works without."
    )


def _register_placeholders(names, registry) -> None:
    _placeholders.update(names)
    for name in names:
        registry.register_module(
            name=name, module=_placeholder(name), force=True
        )  # an earlier import may have failed


def _placeholder(name: str):
    def switched_off(**kwargs):
        raise ImportError(_message(name))

    switched_off.__name__ = name
    return switched_off
