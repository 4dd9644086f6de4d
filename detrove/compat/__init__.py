"""What makes the OpenMMLab packages work together on current Python, PyTorch and setuptools.

``detrove_boot`` calls the modules here by name, each when the package it concerns is imported; nothing here
is imported before that. :func:`check_environment` is for programs to call once at their start.
"""


def check_environment() -> None:
    """Warn once per run, one line each, about mm packages out of the tested range or installed twice over."""
    from .versions import warn_once

    warn_once()
