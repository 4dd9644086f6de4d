"""Processes that start together on a fresh machine: yapf, which mmengine imports, keeps its grammar in a file."""

import os
import pickle
from pathlib import Path


def write_whole(grammar_module) -> None:
    """Let the just loaded ``pgen2.grammar`` of yapf name its file when it is written.

    yapf gives the file its name before its last bytes are on disk, and a process that reads it then ends with
    ``EOFError: Ran out of input``.
    """

    def dump(self, filename) -> None:
        path = Path(filename)
        unfinished = path.with_name(f'{path.name}.{os.getpid()}')
        unfinished.write_bytes(pickle.dumps(self.__dict__, pickle.HIGHEST_PROTOCOL))
        os.replace(unfinished, path)

    grammar_module.Grammar.dump = dump
