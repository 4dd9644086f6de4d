"""A trained model as one file that runs without detrove and without PyTorch, compared with the model before it is kept.

`export_model` does all of it; `detrove.cli.export` is its command, docs/deployment.md its description.
"""

from .run import ExportSettings, check_target, export_model

__all__ = ['ExportSettings', 'check_target', 'export_model']
