"""Data sets inside others: repeated, concatenated, mixed."""

from collections.abc import Iterator, Mapping


def innermost_datasets(dataset) -> Iterator:
    """The data sets that hold images of their own, in the order of the wrapper; a plain one is its own."""
    inner = [*getattr(dataset, 'datasets', ()), *([dataset.dataset] if hasattr(dataset, 'dataset') else ())]
    for one in inner:
        yield from innermost_datasets(one)
    if not inner and hasattr(dataset, 'get_data_info'):
        yield dataset


def innermost_settings(settings: Mapping) -> Mapping:
    """The config of the data set that holds the images, inside those of its wrappers; itself for a plain one."""
    while 'dataset' in settings:
        settings = settings['dataset']
    return settings
