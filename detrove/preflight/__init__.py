"""What would break or spoil a training, before it starts: `preflight`."""

from .run import preflight
from .short import PreflightHook

__all__ = ['PreflightHook', 'preflight']
