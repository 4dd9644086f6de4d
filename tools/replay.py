#!/usr/bin/env python
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec('detrove') is None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from detrove.cli import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(main(['replay', *sys.argv[1:]]))
