"""What a model is run on: files of images and videos, found by path, folder or pattern."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.jp2', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')


@dataclass(frozen=True)
class ImageFile:
    """An image or video file and the name that its results get.

    Attributes:
        path: Where it lies.
        name: File name; for files of a folder the path inside it, with `/`.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether its suffix is one of `VIDEO_SUFFIXES`, in small or capital letters."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_images(inputs: Iterable[str | Path], *, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[ImageFile]:
    """The image files of paths, folders (and what lies below) and patterns such as `images/*.jpg`.

    Files are sorted within a folder or pattern, each is taken once. A file that is named is taken whatever its suffix
    is; in folders and patterns those of `suffixes` count.

    Raises:
        FileNotFoundError: If an input is nowhere, or holds no images.
        ValueError: If results of two files would get the same name.
    """
    found: dict[Path, ImageFile] = {}
    for given in inputs:
        images = _images_of(Path(given).expanduser(), suffixes)
        if not images:
            raise FileNotFoundError(f'{given}: no image there. Give files, folders or patterns ("images/*.jpg"); '
                                    f'in folders these count: {" ".join(suffixes)}')
        for image in images:
            found.setdefault(image.path.resolve(), image)
    _refuse_equal_names(found.values())
    return list(found.values())


def _images_of(given: Path, suffixes: Sequence[str]) -> list[ImageFile]:
    if given.is_dir():
        files = [file for file in sorted(given.rglob('*')) if is_image_file(file, suffixes)]
        return [ImageFile(file, file.relative_to(given).as_posix()) for file in files]
    if given.exists():
        return [ImageFile(given, given.name)]
    files = [Path(match) for match in sorted(glob.glob(str(given), recursive=True))]
    return [ImageFile(file, file.name) for file in files if is_image_file(file, suffixes)]


def is_image_file(file: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> bool:
    """Whether it is a file and its suffix is one of `suffixes`, in small or capital letters."""
    return file.suffix.lower() in suffixes and file.is_file()


def _refuse_equal_names(images: Iterable[ImageFile]) -> None:
    first: dict[str, Path] = {}
    for image in images:
        stem = str(Path(image.name).with_suffix(''))
        if stem in first:
            raise ValueError(f'results of {first[stem]} and {image.path} would both be named {stem}. Run them one '
                             'after the other with different output folders, or give the folder above both.')
        first[stem] = image.path
