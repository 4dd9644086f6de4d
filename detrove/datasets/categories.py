"""Class names and the category ids of a COCO file: names decide, ids are mapped."""

from collections import defaultdict
from collections.abc import Mapping, Sequence


def category_ids_of(content: Mapping, classes: Sequence[str], *, source: str) -> list[int]:
    """The category id of each class, found by name.

    Args:
        content: a COCO annotation file. Of several categories with one name the one that annotations use counts: some
            exporters list a super-category under the same name and never use it.
        classes: names, in the order of the labels; a subset of the file's will do.
        source: name of the file, for messages.

    Raises:
        ValueError: if a class is not among the categories, or if several categories of its name are used.
    """
    in_file = [category['name'] for category in content['categories']]
    absent = [name for name in classes if name not in in_file]
    if absent:
        raise ValueError(
            f'{source} does not have the classes {absent}.\n'
            f'  classes in the config ({len(classes)}): {list(classes)}\n'
            f'  categories in the file ({len(in_file)}): {in_file}\n'
            f'Set metainfo=dict(classes=(...)) of the data sets to names from the file (a subset will do), and '
            f'num_classes of the head to their number.')
    used = {annotation['category_id'] for annotation in content.get('annotations', [])}
    ids_of = defaultdict(list)
    for category in content['categories']:
        ids_of[category['name']].append(category['id'])
    for name in classes:
        ids_of[name] = [i for i in ids_of[name] if i in used] or ids_of[name][:1]
        if len(ids_of[name]) > 1:
            raise ValueError(f'{source} uses several categories named {name!r} (ids {ids_of[name]}): merge or rename '
                             f'them.')
    return [ids_of[name][0] for name in classes]
