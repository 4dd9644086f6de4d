"""Files and folders that a config names and that are not there, with how the set is laid out."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from .finding import Finding, error

_README = Path(__file__).resolve().parents[3] / 'data' / 'README.md'  # only a checkout has it
# type of data set -> heading in data/README.md; the type alone does not tell COCO from data of one's own
_HEADINGS = {
    'ShapesDataset': 'shapes: the built-in sample data',
    'ShapesSegDataset': 'shapes: the built-in sample data',
    'ShapesSegWithBackgroundDataset': 'shapes: the built-in sample data',
    'CocoPanopticDataset': 'COCO panoptic',
    'CocoSegDataset': 'COCO panoptic',
    'ADE20KDataset': 'ADE20K',
    'ADE20KSegDataset': 'ADE20K',
    'ADE20KPanopticDataset': 'ADE20K, instances and panoptic',
    'ADE20KInstanceDataset': 'ADE20K, instances and panoptic',
    'CityscapesDataset': 'Cityscapes',
    'CityscapesPanopticDataset': 'Cityscapes',
    'LVISV1Dataset': 'LVIS v1',
}
_HEADINGS_BY_FOLDER = {'coco': 'COCO 2017', 'sa_det_100k': 'SA-Det-100k'}
_OWN_DATA = "Your own data in COCO's format"


def missing_files(settings: Mapping, path: str, *, skip: tuple[str, ...] = ()) -> Iterator[Finding]:
    """What a data set of a config names and the disk does not have.

    Args:
        settings: Its part of the config: `data_root`, `ann_file`, `data_prefix`.
        path: Its key.
        skip: Kinds of `data_prefix` that are not read.
    """
    root = settings.get('data_root')
    if root and not Path(root).is_dir():
        yield error('layout.no-data-root', f'{path}.data_root',
                    f'no folder {Path(root).absolute()} (data/README.md shows what goes there)', file=str(root),
                    fix=f'put or link the data there, or set {path}.data_root to where it is')
        return
    ann_file = settings.get('ann_file')
    if isinstance(ann_file, str) and ann_file and '://' not in ann_file:
        file = Path(in_data_root(settings, ann_file))
        if not file.is_file():
            beside = sorted(other.name for other in file.parent.glob('*.json'))[:5] if file.parent.is_dir() else []
            hint = f'; that folder has {", ".join(beside)}' if beside else ''
            yield error('layout.no-annotation-file', f'{path}.ann_file', f'no file {file.absolute()}{hint}',
                        file=str(file), fix=f'set {path}.ann_file, seen from data_root')
    for kind, prefix in (settings.get('data_prefix') or {}).items():
        folder = Path(in_data_root(settings, prefix or ''))
        if prefix and kind not in skip and not folder.is_dir():
            inside = sorted(one.name for one in folder.parent.iterdir() if one.is_dir())[:8] \
                if folder.parent.is_dir() else []
            hint = f'; {folder.parent} has the folders {", ".join(inside)}' if inside else ''
            yield error('layout.no-folder', f'{path}.data_prefix.{kind}', f'no folder {folder.absolute()}{hint}',
                        file=str(folder), fix=f'set {path}.data_prefix.{kind}, seen from data_root')


def in_data_root(settings: Mapping, name: str) -> str:
    return os.path.join(settings.get('data_root') or '', name)


def expected_layout(type_name: str, data_root: str | None) -> str:
    """The part of data/README.md that shows how a data set lies on disk; nothing without a checkout.

    Args:
        type_name: Of the data set, without scope.
        data_root: Tells COCO from other data of its type.
    """
    if not _README.is_file():
        return ''
    folder = Path(data_root or '').name.lower()
    heading = _HEADINGS.get(type_name) or _HEADINGS_BY_FOLDER.get(folder) or _OWN_DATA
    section = _README.read_text(encoding='utf-8').partition(f'\n## {heading}\n')[2].partition('\n## ')[0]
    tree = re.search(r'^ {4}data/.*(?:\n(?: {4}.*)?)*', section, re.MULTILINE)
    return f'{heading} (data/README.md):\n{tree[0].rstrip()}' if tree else ''
