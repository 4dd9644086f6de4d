"""The option by which configs are read as data. Without imports that take time."""

import contextlib
import os
from collections.abc import Iterator

#: An option of every command. As a variable of the environment it reaches the processes that a command starts.
SAFE_CONFIG_FLAG, _SAFE_CONFIG_VARIABLE = '--safe-config', 'DETROVE_SAFE_CONFIG'


@contextlib.contextmanager
def config_reading(*, safe: bool) -> Iterator[None]:
    """While it lasts, configs are read as data where `safe`, see `detrove.engine.safe_config`; else as before."""
    before = os.environ.get(_SAFE_CONFIG_VARIABLE)
    if safe:
        os.environ[_SAFE_CONFIG_VARIABLE] = '1'
    try:
        yield
    finally:
        os.environ.pop(_SAFE_CONFIG_VARIABLE, None)
        if before is not None:
            os.environ[_SAFE_CONFIG_VARIABLE] = before
