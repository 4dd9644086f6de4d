"""One HTML file with everything in it, to look through pictures of a data set."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import mmcv

from .samples import Picture

_SIDE = 640  # pixels of a picture in the page, at most
_QUALITY = 80
_PER_PAGE = 12


def write_page(pictures: Sequence[Picture], file: Path, *, title: str, subtitle: str = '') -> None:
    """Write the page: it can be paged, filtered by class, and shows originals beside augmented images.

    It asks for nothing outside itself, works without a mouse, and on narrow screens.

    Args:
        pictures: From `draw_samples`.
        file: To write.
        title, subtitle: For its head.
    """
    from jinja2 import Environment, PackageLoader  # comes with torch

    environment = Environment(loader=PackageLoader('detrove.datasets.browse', 'templates'), autoescape=True,
                              trim_blocks=True, lstrip_blocks=True)
    counts = Counter()
    for picture in pictures:
        counts.update(set(picture.original_objects) | set(picture.augmented_objects))
    cards = [dict(
        name=picture.name, remark=picture.remark,
        classes=sorted({*picture.original_objects, *picture.augmented_objects}),
        sides=[dict(kind=kind, source=_data_address(path), size=f'{size[0]} x {size[1]}', objects=_listed(objects))
               for kind, path, size, objects in (
                   ('original', picture.original, picture.original_wh, picture.original_objects),
                   ('augmented', picture.augmented, picture.augmented_wh, picture.augmented_objects))],
    ) for picture in pictures]
    html = environment.get_template('browse.html').render(
        title=title, subtitle=subtitle, cards=cards, classes=sorted(counts.items()), per_page=_PER_PAGE)
    file.write_text(html, encoding='utf-8')


def _data_address(path: Path) -> str:
    image = mmcv.imread(str(path))
    if max(image.shape[:2]) > _SIDE:
        image = mmcv.imrescale(image, (_SIDE, _SIDE), interpolation='area')
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(encoded.tobytes()).decode()


def _listed(objects: Mapping[str, int]) -> str:
    names = (f'{name} {number}' if number > 1 else name for name, number in sorted(objects.items()))
    return ', '.join(names) or 'no object'
