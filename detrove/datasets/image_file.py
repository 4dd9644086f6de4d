"""Reading image files: whole ones, of the size that was annotated, turned as they were annotated."""

import io
import logging
import os
import struct
import warnings

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile as StockLoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine import fileio
from mmengine.logging import print_log
from mmseg.registry import TRANSFORMS as SEG_TRANSFORMS
from PIL import Image

#: Pixels that an image of unknown size may have, unless OPENCV_IO_MAX_IMAGE_PIXELS says otherwise: 0.8 GB decoded.
MAX_PIXELS = 2**28
_JPEG_START, _JPEG_END = b'\xff\xd8\xff', b'\xff\xd9'
_PNG_START, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'
#: What starts a JPEG frame, which has the size: SOF0 to SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class UnreadableImage(ValueError):
    """A file that is no image, a damaged one, or another than the annotations speak of."""


@TRANSFORMS.register_module()
@SEG_TRANSFORMS.register_module()
class LoadImageFromFile(StockLoadImageFromFile):
    """mmcv's transform of this name, in whose place configs of mmdet and mmseg get it, with bad files refused by name.

    A file that is cut short is refused; OpenCV fills its end with grey. Where the data set knows the size (`height`,
    `width`), an image of another size is refused, before it is decoded where its head tells the size. An EXIF
    orientation is followed, as mmcv does, unless the annotated size is that of the image as stored: annotation tools
    differ in this, and the size tells which kind has been at work. The first such file is named in the log.

    Args:
        to_float32, color_type, imdecode_backend, ignore_empty, backend_args: of mmcv's.

    Raises:
        UnreadableImage: (when called) the file is no image, or not whole, or of another size.
        FileNotFoundError: there is no such file.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._said_stored = False

    def transform(self, results: dict) -> dict | None:
        path = results['img_path']
        expected_hw = results.get('height'), results.get('width')
        try:
            image = self._read(path, expected_hw if None not in expected_hw else None)
        except (OSError, UnreadableImage):
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            image = image.astype(np.float32)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results

    def _read(self, path: str, expected_hw: tuple[int, int] | None) -> np.ndarray:
        if self.file_client_args is not None:
            content = fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        else:
            content = fileio.get(path, backend_args=self.backend_args)
        _check_head(content, path, expected_hw)
        image = self._decode(content, path)
        _check_end(content, path)
        if expected_hw is None or image.shape[:2] == expected_hw:
            return image
        if self.color_type in ('color', 'grayscale') and image.shape[1::-1] == expected_hw:
            as_stored = self._decode(content, path, f'{self.color_type}_ignore_orientation')
            if as_stored.shape[:2] == expected_hw:
                self._say_stored(path, expected_hw)
                return as_stored
        raise _other_size(path, image.shape[:2], expected_hw)

    def _decode(self, content: bytes, path: str, color_type: str | None = None) -> np.ndarray:
        try:
            image = mmcv.imfrombytes(content, flag=color_type or self.color_type, backend=self.imdecode_backend)
        except (OSError, AttributeError, TypeError, ValueError, SyntaxError, cv2.error) as error:  # as decoders have it
            raise UnreadableImage(f'{path} cannot be read as an image: {_first_line(error)}') from error
        if image is None:
            found = 'is empty' if not content else f'begins with {content[:8]!r} and is damaged or no image'
            raise UnreadableImage(f'{path} cannot be read as an image: it {found}. Copy or download it again.')
        return image

    def _say_stored(self, path: str, size_hw: tuple[int, int]) -> None:
        if not self._said_stored:
            self._said_stored = True
            print_log(f'{path} is annotated as stored ({_by(size_hw)}), so its EXIF orientation is not followed; '
                      'likewise for other images of this data set.', 'current', logging.WARNING)


def _check_head(content: bytes, path: str, expected_hw: tuple[int, int] | None) -> None:
    """Refuses an image by the size in its first bytes: a small file can claim gigabytes."""
    size_hw = stored_size_hw(content)
    if size_hw is None:
        return
    if expected_hw is not None and size_hw not in (expected_hw, expected_hw[::-1]):
        raise _other_size(path, size_hw, expected_hw)
    limit = int(os.environ.get('OPENCV_IO_MAX_IMAGE_PIXELS', MAX_PIXELS))
    if expected_hw is None and size_hw[0] * size_hw[1] > limit:
        raise UnreadableImage(f'{path} has {_by(size_hw)} pixels, more than {limit:,}. If that is right, set '
                              'OPENCV_IO_MAX_IMAGE_PIXELS in the environment to a larger number.')


def stored_size_hw(content: bytes) -> tuple[int, int] | None:
    """Height and width in the head of an image file; None where it is none, or the head is damaged."""
    if content.startswith(_JPEG_START):
        return _jpeg_size_hw(content)
    if content.startswith(_PNG_START):
        return struct.unpack('>II', content[16:24])[::-1] if len(content) >= 24 else None
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            warnings.simplefilter('ignore')
            return image.size[::-1]
    except Image.DecompressionBombError:
        return 2**16, 2**16  # Pillow does not tell
    except Exception:  # decoders raise many kinds; the one that is used will say what is wrong
        return None


def _jpeg_size_hw(content: bytes) -> tuple[int, int] | None:
    """Pillow takes a tenth of the time of decoding to find it."""
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in _JPEG_FRAMES:
            return struct.unpack_from('>HH', content, place + 5)
        place += 1 if marker == 0xFF else 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
    return None


def _check_end(content: bytes, path: str) -> None:
    """Refuses what is cut short. Pillow, which knows, is asked where the last bytes do not show that all is there."""
    whole = (content.endswith((_JPEG_END, _PNG_END)) or content.startswith((b'II*\0', b'MM\0*')) or
             content.startswith(b'RIFF') and len(content) >= 8 + int.from_bytes(content[4:8], 'little'))
    if whole:
        return
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            warnings.simplefilter('ignore')
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        if 'truncated' in str(error) or 'broken' in str(error):
            raise UnreadableImage(f'{path} is cut short: {_first_line(error)}. Copy or download it again.') from error
    except Exception:  # kinds of images that OpenCV reads and Pillow does not
        return


def _other_size(path: str, size_hw: tuple[int, int], expected_hw: tuple[int, int]) -> UnreadableImage:
    return UnreadableImage(
        f'{path} is {_by(size_hw)} pixels, but the annotations say {_by(expected_hw)}, so that boxes and masks do not '
        'fit it. Use the image that was annotated, or correct width, height and the annotations; '
        'tools/check_dataset.py lists all such images.')


def _by(size_hw: tuple[int, int]) -> str:
    return f'{size_hw[1]} x {size_hw[0]}'


def _first_line(error: Exception) -> str:
    return str(error).partition('\n')[0] or type(error).__name__
