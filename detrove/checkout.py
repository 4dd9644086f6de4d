"""Where this detrove lies, for processes that it starts."""

from pathlib import Path


def checkout_path() -> str | None:
    """The folder that other processes need in PYTHONPATH to import this detrove; None where it is installed."""
    root = Path(__file__).resolve().parents[1]
    return None if root.name in ('site-packages', 'dist-packages') else str(root)
