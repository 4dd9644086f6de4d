"""Results tables of the papers' pages, made from their metafiles.

    python docs/results_tables.py            # writes them into the pages
    python docs/results_tables.py --check    # exit status 1 where a page is not current

A page says where a table belongs, and by patterns of names which models it lists, in the order of the metafile:

    <!-- results: mask-rcnn_*_coco cascade-*_coco -->
    <!-- end of results -->

The site makes them anew whenever it is built (docs/site_files.py).
"""

import argparse
import os
import re
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from detrove.cli.list_models import HEADLINES, MEASURED_HERE, PAPER, metafiles

ROOT = Path(__file__).resolve().parent.parent
TABLE = re.compile(r'(<!-- results: ([^\n]+?) -->\n).*?(?=<!-- end of results -->)', re.DOTALL)
# the key of a model's weights by the source of the figures that they reach
WEIGHTS = {PAPER: 'Official Weights', 'MMDetection': 'MMDetection Weights'}


def models_of_pages() -> dict[str, list[dict]]:
    """The entries of all metafiles by the page that tells of them, a path from the repository's root."""
    found = {}
    for file in metafiles(ROOT):
        content = yaml.safe_load(file.read_text(encoding='utf-8'))
        pages = {collection['Name']: collection['README'] for collection in content['Collections']}
        for model in content['Models']:
            found.setdefault(pages[model['In Collection']], []).append(model)
    return found


def with_tables(text: str, page: str, models: list[dict]) -> str:
    """The text of a page with its tables.

    Raises:
        ValueError: if a table would be empty.
    """

    def fill(match: re.Match) -> str:
        chosen = [model for model in models
                  if any(fnmatchcase(model['Name'], pattern) for pattern in match[2].split())]
        if not chosen:
            raise ValueError(f'{page}: no model that its metafiles list is named like {match[2]}')
        return match[1] + table(chosen, page)

    return TABLE.sub(fill, text)


def table(models: list[dict], page: str) -> str:
    """A row for each model; figures of the paper, of others and those measured here have columns of their own."""
    folder = os.path.dirname(page)
    training = [model.get('Training', {}) for model in models]
    columns = {
        'config': [f'[{model["Name"]}]({os.path.relpath(model["Config"], folder)})' for model in models],
        'epochs': [_text(one.get('Epochs')) for one in training],
        'iterations': [_text(one.get('Iterations')) for one in training],
        'parameters': [f'{model["Parameters"] / 1e6:.1f} M' if 'Parameters' in model else '' for model in models],
    }
    columns = {heading: cells for heading, cells in columns.items() if any(cells)} | _figures(models)
    rows = [list(columns), ['---'] * len(columns), *zip(*columns.values(), strict=True)]
    commands = [f'- {model["Name"]}: `{result["Command"]}`' + (f', {result["Note"]}' if 'Note' in result else '')
                for model in models for result in model['Results'] if 'Command' in result]
    measured_by = ['', 'Measured here by', '', *commands, ''] if commands else []
    return '\n'.join(['|' + ''.join(f' {cell} |' if cell else ' |' for cell in cells) for cells in rows]
                     + [*measured_by, ''])


def _figures(models: list[dict]) -> dict[str, list[str]]:
    """The columns of figures. What is not measured here has an empty column, so that this is seen."""
    results = [(result['Source'], result['Dataset'], result['Metrics']) for model in models
               for result in model['Results']]
    metrics = dict.fromkeys([*(name for _, _, figures in results for name in figures),
                             *(HEADLINES[model['Task']] for model in models)])
    usual_data = Counter(data for _, data, _ in results).most_common(1)
    others = sorted({source for source, _, _ in results} - {PAPER, MEASURED_HERE})
    columns = {}
    for source in (PAPER, *others, MEASURED_HERE):
        for name in metrics:
            cells = [_cell(model, source, name, usual_data[0][0] if usual_data else '') for model in models]
            if source == MEASURED_HERE or any(cells):
                columns[f'{name}, {source}'] = cells
    return columns


def _cell(model: dict, source: str, metric: str, usual_data: str) -> str:
    """A figure, linked to the weights that reach it, with its data set where that is not the table's."""
    for result in model['Results']:
        if result['Source'] == source and metric in result['Metrics']:
            figure, weights = str(result['Metrics'][metric]), model.get(WEIGHTS.get(source))
            if weights and metric == next(iter(result['Metrics'])):
                figure = f'[{figure}]({weights})'
            return figure if result['Dataset'] == usual_data else f'{figure} ({result["Dataset"]})'
    return ''


def _text(number: int | None) -> str:
    return '' if number is None else f'{number:,}'


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python docs/results_tables.py',
                                     description="Write the results tables into the papers' pages.")
    parser.add_argument('--check', action='store_true', help='write nothing; exit status 1 if a page is not current')
    args = parser.parse_args(argv)
    stale = []
    for page, models in models_of_pages().items():
        file = ROOT / page
        text = file.read_text(encoding='utf-8')
        current = with_tables(text, page, models)
        if current != text:
            stale.append(page)
            if not args.check:
                file.write_text(current, encoding='utf-8')
    print('\n'.join(f'{page}: {"not current" if args.check else "written"}' for page in stale) or 'all are current')
    return 1 if args.check and stale else 0


if __name__ == '__main__':
    sys.exit(main())
