"""Image files: of every kind and size, turned, damaged, misnamed, and far larger than they should be."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from mmcv.transforms import Compose
from PIL import Image

from detrove.datasets import LoadImageFromFile  # noqa: F401  registered

from .oracle import Case
from .trees import damaged

FORMATS = {
    'PNG': ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'), 'JPEG': ('L', 'RGB', 'CMYK'), 'BMP': ('1', 'L', 'P', 'RGB'),
    'TIFF': ('1', 'L', 'RGB', 'RGBA', 'CMYK', 'I;16'), 'WEBP': ('RGB', 'RGBA'), 'GIF': ('L', 'P', 'RGB'),
    'PPM': ('L', 'RGB'), 'TGA': ('RGB',), 'ICO': ('RGBA',),
}  # fmt: skip
_READ = Compose([dict(type='mmdet.LoadImageFromFile')])


def encode(kind: str, mode: str, size_wh: tuple[int, int], orientation: int | None = None) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    image = Image.fromarray(pixels)
    if mode == 'I;16':
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode != 'RGB':
        image = image.convert(mode)
    options = {}
    if orientation is not None and kind in ('JPEG', 'PNG', 'WEBP'):
        options['exif'] = Image.Exif()
        options['exif'][274] = orientation
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_head(size_wh: tuple[int, int], *, filled: bool) -> bytes:
    """A PNG that claims a size, without its pixels or with far too few."""
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))

    head = chunk(b'IHDR', struct.pack('>IIBBBBB', *size_wh, 8, 2, 0, 0, 0))
    body = chunk(b'IDAT', zlib.compress(bytes(10_000))) if filled else b''
    return b'\x89PNG\r\n\x1a\n' + head + body + chunk(b'IEND', b'')


def claim_size(jpeg: bytes, size_wh: tuple[int, int]) -> bytes:
    place = jpeg.index(b'\xff\xc0') + 5
    return jpeg[:place] + struct.pack('>HH', *size_wh[::-1]) + jpeg[place + 4 :]


@st.composite
def image_files(draw) -> Case:
    kind = draw(st.sampled_from(sorted(FORMATS)))
    size_wh = draw(st.sampled_from([(1, 1), (1, 9), (8, 8), (13, 7), (64, 33)]))
    orientation = draw(st.sampled_from([None, 1, 2, 3, 6, 8, 9, 0]))
    content = encode(kind, draw(st.sampled_from(FORMATS[kind])), size_wh, orientation)
    if draw(st.integers(0, 7)) == 0:
        claimed = draw(st.sampled_from([(30_000, 30_000), (65_000, 65_000), (65_535, 1), (2, 60_000)]))
        content = claim_size(encode('JPEG', 'RGB', (16, 16)), claimed) if draw(st.booleans()) else png_head(
            claimed, filled=draw(st.booleans()))
    elif draw(st.booleans()):
        content = draw(damaged(content))
    suffix = draw(st.sampled_from(['.png', '.jpg', '.tif', '.txt', '']))
    annotated = draw(st.sampled_from([None, size_wh, size_wh[::-1], (5, 5)]))
    name = f'photo Größe{suffix}'

    def load(folder: Path) -> None:
        size = dict(width=annotated[0], height=annotated[1]) if annotated else {}
        image = _READ(dict(img_path=str(folder / name), **size))['img']
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size, image.shape
        assert annotated is None or image.shape[1::-1] == annotated, (image.shape, annotated)

    return Case({name: content}, load, name, f'{kind} {size_wh} {orientation} {annotated} {content[:60]!r}')
