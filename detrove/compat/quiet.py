"""Keeps one notice of the onedl packages off the terminal.

Where the package `onedl` is absent, importing the data sets of mmdet, mmseg and mmpretrain prints "Could not
import OneDL" up to four times, in every process and worker: mmengine's `print_log` prints whatever the level
is where no logger is named.
"""

import functools
import logging

_NOTICE = 'Could not import OneDL'


def drop_onedl_notice(logger_module) -> None:
    """Let ``print_log`` of the just loaded ``mmengine.logging.logger`` drop that notice and nothing else."""
    print_log = logger_module.print_log

    @functools.wraps(print_log)
    def print_log_but_the_notice(msg, logger=None, level=logging.INFO):
        if logger is None and str(msg).startswith(_NOTICE):
            return
        print_log(msg, logger, level)

    logger_module.print_log = print_log_but_the_notice
