"""The suite and `python tests/fuzz` share the package beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
