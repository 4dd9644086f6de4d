import sys

from detrove.cli import main

if __name__ == '__main__':
    sys.exit(main())
