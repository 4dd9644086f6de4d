"""`detrove list-models`: print and search the models that have a config, from the metafiles."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PAPER = 'paper'
MEASURED_HERE = 'measured here'
PLACES = ('projects/*/metafile.yml', 'configs/**/metafile.yml')
# The figure of each task that `--sort ap` compares; the others of a model are in --json.
HEADLINES = {
    'detection': 'box AP',
    'instance segmentation': 'mask AP',
    'semantic segmentation': 'mIoU',
    'panoptic segmentation': 'PQ',
}
WIDTH_IN_FILES = 200

_EPILOG = """examples:
  detrove list-models --task detection --sort ap
  detrove list-models --backbone swin --paper relation
  detrove list-models --task semantic --json

An empty cell is a figure that nobody has entered: the paper has none for this config, or it was not measured here.
`--sort ap` keeps data sets apart, since their figures do not compare; it takes the figure measured here where there is
one and the paper's otherwise. Models without any come last.
"""


@dataclass(frozen=True)
class Model:
    """One entry of a metafile.

    Attributes:
        results: a dict for each data set and source, with `Dataset`, `Source` and `Metrics` (name -> value).
    """

    name: str
    config: str
    paper: str
    task: str
    backbone: str
    parameters: int | None
    epochs: int | None
    results: tuple[dict, ...]

    def headline(self, source: str) -> float | None:
        """The main figure from a source, `paper` or `measured here`, on the data set of `headline_on`."""
        data_set, name = self.headline_on()
        found = (result['Metrics'].get(name) for result in self.results
                 if (result['Dataset'], result['Source']) == (data_set, source))
        return next((figure for figure in found if figure is not None), None)

    def headline_on(self) -> tuple[str, str]:
        """The data set and the name of the main figure: the task's, or box AP. Both are empty without any figure."""
        for name in (HEADLINES[self.task], 'box AP'):
            for result in self.results:
                if result['Source'] in (PAPER, MEASURED_HERE) and name in result['Metrics']:
                    return result['Dataset'], name
        return '', ''


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove list-models',
        description='List the models that have a config, with what their papers report and what was measured here.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--task', metavar='WORD', help=f'only tasks with this in their name: {", ".join(HEADLINES)}')
    parser.add_argument('--backbone', metavar='WORD', help='only backbones with this in their name, such as swin')
    parser.add_argument('--paper', metavar='WORD', help='only papers with this in their name, such as dino')
    parser.add_argument('--sort', choices=('name', 'ap', 'parameters'), default=None,
                        help='by name, by AP (mIoU of semantic, PQ of panoptic segmentation), best first, or by '
                        'parameters, fewest first; without it in the order of the metafiles')
    parser.add_argument('--json', action='store_true', help='print json with all figures, for programs')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    models = sort_models(
        select(read_models(metafile_root()), task=args.task, backbone=args.backbone, paper=args.paper), args.sort)
    if args.json:
        print(json.dumps([asdict(model) for model in models], indent=1))
        return 0
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_IN_FILES)
    console.print(table(models))
    console.print(f'{len(models)} models')
    return 0


def metafile_root() -> Path:
    """The folder with `projects` and `configs`: the repository, or the package where it is installed.

    Raises:
        FileNotFoundError: if neither has metafiles.
    """
    package = Path(__file__).resolve().parent.parent
    for root in (package, package.parent):
        if any(root.glob(PLACES[0])):
            return root
    raise FileNotFoundError(f'no {PLACES[0]} below {package} or {package.parent}: detrove is incompletely installed')


def read_models(root: Path) -> list[Model]:
    """The models of all metafiles below `root`.

    Raises:
        ValueError: if an entry lacks a field, or its task is not one of HEADLINES.
    """
    return [_model(entry, file.relative_to(root)) for file in metafiles(root) for entry in _load(file)]


def metafiles(root: Path) -> list[Path]:
    """Those of the papers, then those of further backbones."""
    return [file for place in PLACES for file in sorted(root.glob(place))]


def _load(file: Path) -> list[dict]:
    import yaml

    return yaml.safe_load(file.read_text(encoding='utf-8'))['Models']


def _model(entry: dict, file: Path) -> Model:
    lacking = [key for key in ('Name', 'Config', 'In Collection', 'Task', 'Backbone') if key not in entry]
    if lacking:
        raise ValueError(f'{file}: the model {entry.get("Name", entry)!r} has no {" and no ".join(lacking)}')
    if entry['Task'] not in HEADLINES:
        raise ValueError(f'{file}: the task of {entry["Name"]} is {entry["Task"]!r}, not one of {", ".join(HEADLINES)}')
    return Model(
        name=entry['Name'],
        config=entry['Config'],
        paper=entry['In Collection'],
        task=entry['Task'],
        backbone=entry['Backbone'],
        parameters=entry.get('Parameters'),
        epochs=entry.get('Training', {}).get('Epochs'),
        results=tuple(entry.get('Results') or ()),
    )


def select(models: Sequence[Model], **words: str | None) -> list[Model]:
    """The models whose fields contain the given words, whatever their case and hyphens.

    Raises:
        ValueError: if nothing in a field matches its word; names the values that there are.
    """
    for field, word in words.items():
        if word is None:
            continue
        values = sorted({getattr(model, field) for model in models})
        models = [model for model in models if _plain(word) in _plain(getattr(model, field))]
        if not models:
            raise ValueError(f'no model with --{field} {word!r}; there are: {", ".join(values) or "none"}')
    return list(models)


def _plain(text: str) -> str:
    return ''.join(character for character in text.lower() if character.isalnum())


def sort_models(models: Sequence[Model], key: str | None) -> list[Model]:
    """Sorted by `name`, by `ap` with the best first, or by `parameters`; models without the figure come last."""
    if key is None:
        return list(models)
    if key == 'name':
        return sorted(models, key=lambda model: model.name)
    if key == 'parameters':
        return sorted(models, key=lambda model: (model.parameters is None, model.parameters or 0))
    return sorted(models, key=_by_figure)


def _by_figure(model: Model) -> tuple[bool, tuple[str, str], float]:
    figures = [model.headline(source) for source in (MEASURED_HERE, PAPER)]
    figure = next((figure for figure in figures if figure is not None), None)
    return figure is None, model.headline_on(), -(figure or 0)


def table(models: Sequence[Model]):
    """A rich table: what the paper reports and what was measured here are different columns."""
    from rich.table import Table

    columns = Table(box=None, pad_edge=False, header_style='bold')
    for name in ('config', 'collection', 'task', 'backbone'):
        columns.add_column(name, overflow='fold')
    for name in ('parameters', 'epochs'):
        columns.add_column(name, justify='right')
    for name in ('data set', 'figure'):
        columns.add_column(name)
    for name in (PAPER, MEASURED_HERE):
        columns.add_column(name, justify='right')
    for model in models:
        columns.add_row(
            model.config, model.paper, model.task, model.backbone,
            '' if model.parameters is None else f'{model.parameters / 1e6:.1f} M',
            _cell(model.epochs), *model.headline_on(),
            _cell(model.headline(PAPER)), _cell(model.headline(MEASURED_HERE)))
    return columns


def _cell(value: float | None) -> str:
    return '' if value is None else str(value)
