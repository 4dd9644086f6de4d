"""Image files that are damaged, turned, or not the ones that were annotated."""

import io

import numpy as np
import pytest
from PIL import Image

from detrove.datasets.image_file import LoadImageFromFile, UnreadableImage, stored_size_hw

SIZE_WH = (12, 7)


def encoded(kind='JPEG', size_wh=SIZE_WH, orientation=None):
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (*size_wh[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind, exif=exif)
    return stream.getvalue()


def load(tmp_path, content, size_wh=None):
    (tmp_path / 'photo.jpg').write_bytes(content)
    size = {} if size_wh is None else dict(width=size_wh[0], height=size_wh[1])
    return LoadImageFromFile()(dict(img_path=str(tmp_path / 'photo.jpg'), **size))['img']


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF'])
def test_head_has_the_size(kind):
    assert stored_size_hw(encoded(kind)) == SIZE_WH[::-1]
    assert stored_size_hw(b'no image') is None


def test_annotated_size_tells_whether_exif_is_followed(tmp_path):
    content = encoded(orientation=6)
    turned = load(tmp_path, content)
    assert turned.shape[1::-1] == SIZE_WH[::-1], 'followed where nothing is annotated'
    assert np.array_equal(load(tmp_path, content, SIZE_WH[::-1]), turned)
    assert load(tmp_path, content, SIZE_WH).shape[1::-1] == SIZE_WH


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP'])
def test_cut_files_are_refused(tmp_path, kind):
    content = encoded(kind, (64, 64))
    with pytest.raises(UnreadableImage, match=r'photo\.jpg'):
        load(tmp_path, content[: len(content) // 2])


def test_another_size_is_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr('mmcv.imfrombytes', None)
    with pytest.raises(UnreadableImage, match=r'photo\.jpg is 12 x 7 pixels, but the annotations say 5 x 5'):
        load(tmp_path, encoded(), (5, 5))


def test_far_too_large_ones_are_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr('mmcv.imfrombytes', None)
    monkeypatch.setattr('detrove.datasets.image_file.MAX_PIXELS', 80)
    with pytest.raises(UnreadableImage, match='OPENCV_IO_MAX_IMAGE_PIXELS'):
        load(tmp_path, encoded())


@pytest.mark.parametrize('content', [b'', b'text', b'\xff\xd8\xff'])
def test_no_images(tmp_path, content):
    with pytest.raises(UnreadableImage, match=r'photo\.jpg cannot be read'):
        load(tmp_path, content)
