"""The import hook that lets the OpenMMLab packages run where mmcv's compiled ops do not exist.

``import detrove`` calls :func:`install`; an installed wheel also calls :func:`install_at_startup` from
``detrove.pth`` (``detrove.start`` from Python 3.15), so that worker processes and scripts that import mmdet
before detrove are covered. Set ``DETROVE_BOOT=0`` to keep the start-up hook out of a process; ``import
detrove`` then still installs the finder.

Every Python start of the environment runs this file, so it imports nothing but built-in modules and defers
all work to ``detrove.compat``, which is imported when one of the few modules below is.
"""

import sys
from _frozen_importlib import ModuleSpec
from _thread import get_ident

#: Environment variable that keeps the start-up hook out when set to one of ``OFF``.
OPT_OUT = 'DETROVE_BOOT'
OFF = ('0', 'false', 'off', 'no')

MM_PACKAGES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
MULTIMODAL = 'mmpretrain.models.multimodal'

#: module -> (module of detrove.compat, function) to be called with it right after it was loaded.
HOOKS = {
    'mmengine.config.config': ('config_text', 'remember_pretty_text'),
    'mmengine.config.utils': ('hub', 'name_installed_distributions'),
    'mmengine.logging.logger': ('quiet', 'drop_onedl_notice'),
    'mmengine.logging.history_buffer': ('history_buffer', 'after_import'),
    'mmengine.runner.checkpoint': ('safe_load', 'after_import'),
    'mmcv.ops.multi_scale_deform_attn': ('mmcv_msda', 'patch_ms_deform_attn'),
    'mmpretrain.utils.dependency': ('mmpretrain', 'check_multimodal'),
    'yapf_third_party._ylib2to3.pgen2.grammar': ('grammar_cache', 'write_whole'),
    MULTIMODAL: ('mmpretrain', 'explain_absence'),
}


class DetroveFinder:
    """Meta-path finder for a handful of names; every other import passes it at the price of two look-ups.

    It stands first on ``sys.meta_path`` so that it can act when a real module is present but broken, and asks
    the other finders before it offers anything of its own: what is really installed wins.
    """

    def __init__(self):
        #: top-level name -> package it is another name of, e.g. ``projects`` in a checkout.
        self.aliases = {}
        self._searching = set()
        self._rules = {
            'mmcv._ext': self._mmcv_ext,
            'pkg_resources': self._pkg_resources,
            'panopticapi': self._panopticapi,
        }
        self._rules.update((name, self._hooked) for name in HOOKS)

    def find_spec(self, fullname, path=None, target=None):
        rule = self._rules.get(fullname)
        if rule is not None:
            return rule(fullname, path, target)
        if self.aliases:
            head, dot, tail = fullname.partition('.')
            if dot and head in self.aliases:
                return _spec(fullname, AliasLoader(f'{self.aliases[head]}.{tail}'))
        if fullname.startswith(MULTIMODAL + '.'):
            _compat('mmpretrain').refuse_multimodal(fullname)
        return None

    def find_elsewhere(self, fullname, path, target):
        """The spec that the import system would have found without this finder, or None."""
        key = (get_ident(), fullname)
        if key in self._searching:  # another wrapping finder asked the import system, and so us, again
            return None
        self._searching.add(key)
        try:
            for finder in tuple(sys.meta_path):
                find_spec = getattr(finder, 'find_spec', None)
                if finder is self or find_spec is None:
                    continue
                spec = find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        finally:
            self._searching.discard(key)
        return None

    def _mmcv_ext(self, fullname, path, target):
        real = self.find_elsewhere(fullname, path, target)
        if not _detrove_is_there():
            return real
        if real is None:
            return _spec(fullname, AliasLoader('detrove.ops.mmcv_ext'))
        if real.loader is not None:
            real.loader = RealExtensionFirst(real.loader)
        return real

    def _pkg_resources(self, fullname, path, target):
        real = self.find_elsewhere(fullname, path, target)
        if real is not None or not _asked_by_mm_package() or not _detrove_is_there():
            return real
        return _spec(fullname, PkgResourcesLoader())

    def _panopticapi(self, fullname, path, target):
        real = self.find_elsewhere(fullname, path, target)
        if real is not None or not _detrove_is_there():
            return real
        return _spec(fullname, AliasLoader('detrove.compat.panopticapi'))

    def _hooked(self, fullname, path, target):
        spec = self.find_elsewhere(fullname, path, target)
        if spec is not None and spec.loader is not None and _detrove_is_there():
            spec.loader = HookLoader(spec.loader, *HOOKS[fullname])
        return spec


class AliasLoader:
    """Makes one module available under a second name: the same object, executed once."""

    def __init__(self, name):
        self.name = name

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        alias = module.__spec__.name
        try:
            sys.modules[alias] = _import(self.name)
        except ImportError as error:
            if alias != 'mmcv._ext':
                raise
            # Not an ImportError: mmdet swallows those and binds functions that fail later without the reason.
            raise RuntimeError(
                f'{alias} is not compiled here and {self.name}, which stands in for it, '
                f'failed to import: {error}. Run `python -m detrove.doctor`.'
            ) from error


class HookLoader:
    """Loads with the real loader, then hands the module to a function of ``detrove.compat``."""

    def __init__(self, real, compat_module, function):
        self._real = real
        self._compat_module = compat_module
        self._function = function

    def __getattr__(self, name):
        return getattr(self._real, name)

    def create_module(self, spec):
        return self._real.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._real
        self._real.exec_module(module)
        getattr(_compat(self._compat_module), self._function)(module)


class RealExtensionFirst:
    """Loads the compiled ``mmcv._ext``; where that cannot be loaded (built for another torch), stands in."""

    def __init__(self, real):
        self._real = real
        self._error = None

    def __getattr__(self, name):
        return getattr(self._real, name)

    def create_module(self, spec):
        try:
            return self._real.create_module(spec)  # where an extension is linked: a foreign build fails here
        except (ImportError, OSError) as error:
            self._error = error
            return None

    def exec_module(self, module):
        spec = module.__spec__
        if self._error is None:
            try:
                self._real.exec_module(module)
                module.__loader__ = spec.loader = self._real
                return
            except (ImportError, OSError) as error:
                self._error = error
        import warnings

        reason = ' '.join(str(self._error).split())
        warnings.warn(
            f'{spec.origin} cannot be loaded ({reason}); detrove supplies the ops of mmcv._ext instead. '
            'Rebuild or uninstall that mmcv to silence this.',
            stacklevel=2,
        )
        AliasLoader('detrove.ops.mmcv_ext').exec_module(module)


class PkgResourcesLoader:
    """The few functions of pkg_resources that upstream mmengine calls; mmengine also reloads the module."""

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        standin = _compat('pkg_resources_standin')
        vars(module).update(
            {
                name: value
                for name, value in vars(standin).items()
                if name == '__getattr__' or not name.startswith('_')
            }
        )


FINDER = DetroveFinder()


def install():
    """Put the finder on ``sys.meta_path``. Returns True if it was not there yet."""
    if any(type(finder).__name__ == 'DetroveFinder' for finder in sys.meta_path):
        return False
    sys.meta_path.insert(0, FINDER)
    return True


def install_at_startup():
    """What ``detrove.pth`` and ``detrove.start`` call: :func:`install` unless ``DETROVE_BOOT=0``."""
    from os import environ

    if environ.get(OPT_OUT, '').lower() not in OFF:
        install()


def alias(name, package):
    """Let ``name`` and all below it be other names of ``package``: modules are shared, not loaded twice."""
    FINDER.aliases[name] = package
    prefix = package + '.'
    for loaded, module in tuple(sys.modules.items()):
        if loaded == package or loaded.startswith(prefix):
            sys.modules[name + loaded[len(package) :]] = module


def _spec(fullname, loader):
    return ModuleSpec(fullname, loader, origin='detrove')


def _import(name):
    __import__(name)
    return sys.modules[name]


def _compat(name):
    return _import('detrove.compat.' + name)


def _detrove_is_there():
    """False where detrove was uninstalled and this file is left: imports then behave as without it."""
    if 'detrove' in sys.modules:
        return True
    from importlib.util import find_spec

    return find_spec('detrove') is not None


def _asked_by_mm_package():
    """Whether the import under way was written in an mm package: nobody else is to meet our pkg_resources."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get('__name__') or ''
        if name not in (__name__, 'importlib', '_frozen_importlib', 'importlib._bootstrap', 'importlib.util'):
            return name.partition('.')[0] in MM_PACKAGES
        frame = frame.f_back
    return False
