"""Reports of trained models: one HTML file that opens anywhere. `write_report` makes it."""

from .report import write_report

__all__ = ['write_report']
