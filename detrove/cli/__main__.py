"""`python -m detrove.cli`, for environments without the console script."""

import sys

from detrove.cli import main

if __name__ == '__main__':
    sys.exit(main())
