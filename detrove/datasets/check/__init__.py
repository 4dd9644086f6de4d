"""What is missing or malformed in the data of a config: `check_data`."""

from .finding import Finding, Severity
from .report import as_json, print_report
from .run import DEFAULT_IMAGES, DataReport, SourceReport, check_data

__all__ = [
    'DEFAULT_IMAGES',
    'DataReport',
    'Finding',
    'Severity',
    'SourceReport',
    'as_json',
    'check_data',
    'print_report',
]
