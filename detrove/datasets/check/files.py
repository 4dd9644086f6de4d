"""What lies in folders, listed once: quick for hundreds of thousands of files, on network file systems too."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from .finding import Finding, error, examples_of


class Folders:
    """Listings of folders, kept."""

    def __init__(self):
        self._listings: dict[str, dict[str, os.DirEntry]] = {}

    def listing(self, folder: str) -> dict[str, os.DirEntry]:
        """Name to entry; nothing where there is no such folder."""
        if folder not in self._listings:
            try:
                with os.scandir(folder or '.') as entries:
                    self._listings[folder] = {entry.name: entry for entry in entries}
            except OSError:
                self._listings[folder] = {}
        return self._listings[folder]

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of `paths` that do not exist, in order."""
        return [path for path in paths if self._entry(path) is None]

    def byte_size(self, path: str) -> int | None:
        """Bytes of a file, None where there is none."""
        entry = self._entry(path)
        try:
            return None if entry is None else entry.stat().st_size
        except OSError:  # a link that leads nowhere
            return None

    def _entry(self, path: str) -> os.DirEntry | None:
        folder, name = os.path.split(path)
        return self.listing(folder).get(name)


def check_exist(
    paths: Sequence[str], folders: Folders, *, kind: str, what: str, where: str, data_root: str | None, fix: str
) -> Iterator[Finding]:
    """Files that are not there, with the nearest that is.

    Args:
        paths: Files.
        folders: Listings.
        kind: Name of the finding.
        what: What these files are, in the plural.
        where: Key of the config with their folder.
        data_root: Of the data set.
        fix: What to do where nothing better is known.
    """
    missing = folders.missing(paths)
    if not missing:
        return
    in_root = [path for path in missing[:100] if data_root and os.path.isfile(_below(path, data_root))]
    if len(missing) == len(paths) and in_root:
        fix = f"{where}='': file names in the annotation file name the folder already"
    near = _same_stem(missing, folders)
    if near:
        missing_one, there = near
        fix = f'{os.path.basename(there)} is there instead of {os.path.basename(missing_one)}: rename the files or ' \
              'correct the names (case and suffix count)'
    yield error(kind, where, f'{what} are not there, of {len(paths):,}', len(missing), examples_of(missing),
                os.path.dirname(missing[0]), fix)


def _below(path: str, data_root: str) -> str:
    """A path whose folder was put in front twice, with one of them."""
    parts = os.path.relpath(path, data_root).split(os.sep)
    return os.path.join(data_root, *parts[1:])


def _same_stem(missing: Sequence[str], folders: Folders) -> tuple[str, str] | None:
    stems: dict[str, dict[str, str]] = defaultdict(dict)
    for path in missing[:100]:
        folder, name = os.path.split(path)
        if folder not in stems:
            stems[folder] = {os.path.splitext(other)[0].lower(): other for other in folders.listing(folder)}
        there = stems[folder].get(os.path.splitext(name)[0].lower())
        if there:
            return path, there
    return None
