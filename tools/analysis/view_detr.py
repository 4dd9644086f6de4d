#!/usr/bin/env python
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec('detrove') is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from detrove.cli.errors import run_reporting_errors  # noqa: E402
from detrove.cli.view_detr import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(run_reporting_errors(main))
