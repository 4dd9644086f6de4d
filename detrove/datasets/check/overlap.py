"""Images that are trained on and evaluated on."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .files import Folders
from .finding import Finding, error, examples_of, warning
from .images import in_threads
from .source import DataSource, Track

_ADVICE = 'leave these images out of one of the two: what is trained on tells nothing about new images'


@dataclass(frozen=True)
class ImageFile:
    """An image of a data set; its id where its annotations have one."""

    path: str
    image_id: object = None


def check_overlap(
    trained: DataSource, evaluated: DataSource, trained_images: Sequence[ImageFile],
    evaluated_images: Sequence[ImageFile], folders: Folders, *, read_files: bool, workers: int, track: Track,
) -> Iterator[Finding]:
    """Images that two data sets share: the same files, files of the same content, the same ids and names.

    Args:
        trained, evaluated: The data sets.
        trained_images, evaluated_images: Their images.
        folders: Listings.
        read_files: Compare contents, of the few files of equal size; else names, ids and sizes tell.
        workers: Threads.
        track: Shows how far it is.
    """
    where, between = evaluated.path, f'{trained.path} and {evaluated.path}'
    path_of = _Resolver()
    trained_paths = {path_of(image.path) for image in trained_images}
    same = [image for image in evaluated_images if path_of(image.path) in trained_paths]
    if same:
        whole = ' (all of it)' if len(same) == len(evaluated_images) else ''
        yield error('overlap.same-file', where, f'image files are both in {between}{whole}', len(same),
                    examples_of(image.path for image in same), fix=_ADVICE)
    others = [image for image in evaluated_images if path_of(image.path) not in trained_paths]
    if read_files:
        pairs = list(_same_content(others, trained_images, folders, workers, track, where))
        if pairs:
            yield error('overlap.same-content', where, f'images have the content of others: {between} share them',
                        len(pairs), examples_of(f'{one} = {other}' for one, other in pairs), fix=_ADVICE)
    else:
        likely = _same_names(others, trained_images, folders)
        if likely:
            yield warning('overlap.same-id-and-name', where, f'images of {between} have the same id, name and size of '
                          'their files', len(likely), examples_of(likely),
                          fix='without `--images none`, their contents are compared')


class _Resolver:
    """Real path of a file, with links resolved for its folder only: there are few of those."""

    def __init__(self):
        self._folders: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)


def _same_content(
    compared: Sequence[ImageFile], trained: Sequence[ImageFile], folders: Folders, workers: int, track: Track, name: str
) -> Iterator[tuple[str, str]]:
    """Each compared file with one of training of its content. Only files of equal size, then middle, are read whole."""
    ours = {image.path: (folders.byte_size(image.path),) for image in compared}
    theirs = {image.path: (folders.byte_size(image.path),) for image in trained}
    for digest in (_middle, _digest):
        both = set(ours.values()) & set(theirs.values()) - {(None,)}
        ours, theirs = ({path: key for path, key in keys.items() if key in both} for keys in (ours, theirs))
        read = sorted({*ours, *theirs})
        digests = in_threads(digest, read, workers=workers, track=track, title=f'contents of {name}')
        digest_of = dict(zip(read, digests, strict=True))
        ours, theirs = ({path: (*key, digest_of[path]) for path, key in keys.items() if digest_of[path] is not None}
                        for keys in (ours, theirs))
    twin_of = {key: path for path, key in theirs.items()}
    yield from ((path, twin_of[key]) for path, key in ours.items() if key in twin_of)


def _middle(path: str) -> bytes | None:
    try:
        with open(path, 'rb') as file:
            file.seek(os.fstat(file.fileno()).st_size // 2)
            return file.read(4096)
    except OSError:
        return None


def _digest(path: str) -> bytes | None:
    digest = hashlib.blake2b()
    try:
        with open(path, 'rb') as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError:
        return None
    return digest.digest()


def _same_names(images: Sequence[ImageFile], trained: Sequence[ImageFile], folders: Folders) -> list[str]:
    def key(image):
        return image.image_id, os.path.basename(image.path), folders.byte_size(image.path)

    known = {key(image) for image in trained if image.image_id is not None}
    return [f'{image.path} (id {image.image_id})' for image in images if key(image) in known]
