"""Tells mmengine under which name mmseg is installed.

For `_base_ = 'mmseg::...'` and `mmengine.hub.get_config` mmengine looks for a distribution called mmsegmentation. Where
onedl-mmsegmentation brings mmseg it does not find it, and `get_config` then installs the upstream package over it.
"""

import importlib.util
from importlib import metadata

_UPSTREAM = 'mmsegmentation'


def name_installed_distributions(config_utils) -> None:
    """Correct the just loaded ``mmengine.config.utils`` where mmseg is there, but not under its upstream name."""
    try:
        metadata.distribution(_UPSTREAM)
    except metadata.PackageNotFoundError:
        if importlib.util.find_spec('mmseg') is not None:
            config_utils.MODULE2PACKAGE['mmseg'] = 'mmseg'
