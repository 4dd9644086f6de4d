"""The page: one HTML file with everything in it, which asks for nothing from outside."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .blocks import Section

_HERE = Path(__file__).resolve().parent


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """HTML of sections, with style and script inside."""
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters['groupby_runs'] = _runs_of_a_kind
    parts = {name: (_HERE / f'page.{name}').read_text(encoding='utf-8') for name in ('css', 'js')}
    return environment.get_template('page.html').render(title=title, subtitle=subtitle, sections=sections, **parts)


def _runs_of_a_kind(blocks: Sequence) -> Iterator[tuple[str, list]]:
    """Neighbours of one kind together: charts share a grid."""
    for kind, group in itertools.groupby(blocks, key=lambda block: block.kind):
        yield kind, list(group)
