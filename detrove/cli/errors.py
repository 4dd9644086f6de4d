"""What a person sees when a command fails: one message; a traceback when asked for, or for a bug."""

import linecache
import os
import sys
import traceback
from collections.abc import Callable

DEBUG_FLAG = '--debug'
_DEBUG_VARIABLE = 'DETROVE_DEBUG'
_OUR_PACKAGES = ('detrove', 'projects')


def run_reporting_errors(command: Callable[[], int], *, debug: bool = False) -> int:
    """Run a command and turn its errors into a message on stderr and an exit status.

    An error that detrove raised on purpose, or a file that cannot be opened, is about the input: its message
    is all that is printed. Any other error is a bug, here or below, and keeps its traceback.

    Args:
        command: Returns the exit status.
        debug: Print every traceback; also switched on by DETROVE_DEBUG in the environment.
    """
    debug = debug or os.environ.get(_DEBUG_VARIABLE, '0').lower() not in ('', '0', 'false')
    try:
        return command()
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        return 130
    except SystemExit as error:  # argparse: it has printed its own message
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:
        if debug or not is_about_the_input(error):
            traceback.print_exc()
        else:
            print(f'{_rank_prefix()}error: {_message(error)}', file=sys.stderr)
        return 1


def is_about_the_input(error: BaseException) -> bool:
    """Whether a `raise` statement of detrove's own code raised it, or it names a file that did not open."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    frame = error.__traceback__
    if frame is None or isinstance(error, AssertionError):
        return False
    while frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get('__name__', '')
    statement = linecache.getline(frame.tb_frame.f_code.co_filename, frame.tb_lineno).strip()
    return module.split('.')[0] in _OUR_PACKAGES and statement.startswith('raise')


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f'{error.filename}: {error.strerror}'
    if isinstance(error, KeyError) and len(error.args) == 1:  # str() of a KeyError is the repr of its message
        return str(error.args[0])
    return str(error) or type(error).__name__


def _rank_prefix() -> str:
    return f'[rank {os.environ["RANK"]}] ' if int(os.environ.get('WORLD_SIZE', '1')) > 1 else ''
