"""The part of setuptools' former ``pkg_resources`` that upstream mmengine calls, on ``importlib.metadata``.

``detrove_boot`` offers it to the mm packages alone, and only where setuptools (>= 82) has none itself.
"""

from importlib import metadata


class DistributionNotFound(Exception):
    """No installed distribution has the requested name."""


class Distribution:
    """An installed distribution with the attributes that mmengine reads."""

    def __init__(self, dist: metadata.Distribution):
        self._dist = dist
        self.project_name = dist.metadata['Name']
        self.version = dist.version
        self.location = str(dist.locate_file(''))

    def has_metadata(self, name: str) -> bool:
        return self._dist.read_text(name) is not None

    def get_metadata(self, name: str) -> str:
        text = self._dist.read_text(name)
        if text is None:
            raise FileNotFoundError(f'{self.project_name} {self.version} has no metadata file {name!r}')
        return text


def get_distribution(name: str) -> Distribution:
    """The installed distribution called ``name``. Raises DistributionNotFound."""
    try:
        return Distribution(metadata.distribution(name))
    except metadata.PackageNotFoundError as error:
        raise DistributionNotFound(f'The {name!r} distribution was not found') from error


def __getattr__(name: str):
    if name.startswith('__'):
        raise AttributeError(name)
    raise AttributeError(
        f'pkg_resources.{name} is not available: setuptools here comes without pkg_resources, and detrove '
        "supplies only what mmengine needs of it. `pip install 'setuptools<82'` brings the real module."
    )
