"""What the documentation names exists, and its commands and figures stand in one place."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PLACES = ('*.md', 'data/*.md', 'docs/**/*.md', 'projects/**/*.md', 'tests/**/*.md')
DOCUMENTS = sorted(file for place in PLACES for file in ROOT.glob(place))
FENCE = re.compile(r'^[ ]*```(\w*)\n(.*?)^[ ]*```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)\s]+)\)')
# a path of this repository in running text or in a command; `my_configs/x.py` is a reader's own
PATH = re.compile(
    r'(?<![\w/.-])(?:\.\./)*((?:configs|detrove|docs|projects|tests|tools)/[\w./-]*\.(?:py|sh|md|yml))\b'
)
MARKERS = ('<!-- run command -->', '<!-- test command -->')
README = (ROOT / 'README.md').read_text(encoding='utf-8')
METAFILES = sorted(ROOT.glob('projects/*/metafile.yml'))

every_document = pytest.mark.parametrize('file', DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())


def command_after(marker):
    """The content of the code block that directly follows a marker of README."""
    assert README.count(f'{marker}\n') == 1
    block = FENCE.match(README.partition(f'{marker}\n')[2])
    assert block, f'no code block follows {marker}'
    return block[2].strip()


def models(metafile):
    return yaml.safe_load(metafile.read_text(encoding='utf-8'))['Models']


def test_readme_has_two_set_up_commands_of_one_line():
    run, test = map(command_after, MARKERS)
    lines = [line for _, content in FENCE.findall(README) for line in content.splitlines()]
    assert [line for line in lines if 'pip install' in line] == [run, test]
    assert run.endswith(' && python tools/train.py configs/rt_detr/rtdetr_nano_shapes.py')
    assert test.endswith(" && pip install -e '.[tests]' && pytest -n 2 --dist loadfile")


def test_ci_runs_the_test_command_of_readme():
    script = (ROOT / '.ci' / 'run').read_text(encoding='utf-8')
    assert MARKERS[1] in script
    assert command_after(MARKERS[1]) not in script, 'taken from README, not written twice'


@every_document
def test_links_lead_somewhere(file):
    targets = [target.partition('#')[0] for target in LINK.findall(FENCE.sub('', file.read_text(encoding='utf-8')))]
    relative = [target for target in targets if target and not re.match(r'[a-z]+:', target)]
    assert [target for target in relative if not (file.parent / target).exists()] == []


@every_document
def test_paths_exist(file):
    named = {match[1] for match in PATH.finditer(file.read_text(encoding='utf-8'))}
    assert [name for name in sorted(named) if not any((base / name).is_file() for base in (ROOT, file.parent))] == []


@pytest.mark.parametrize('metafile', METAFILES, ids=lambda file: file.parent.name)
def test_metafile_lists_every_config_of_its_paper(metafile):
    assert (metafile.parent / 'README.md').is_file()
    listed = [model['Config'] for model in models(metafile)]
    folders = {(ROOT / name).parent for name in listed}
    present = [file.relative_to(ROOT).as_posix() for folder in folders for file in folder.glob('*.py')]
    assert sorted(listed) == sorted(present)
    assert [model['Name'] for model in models(metafile)] == [Path(name).stem for name in listed]


@pytest.mark.parametrize('metafile', METAFILES, ids=lambda file: file.parent.name)
def test_tables_agree_with_the_metafile(metafile):
    """A row that links to a config has the paper's metrics (README the first of them) and the metafile's parameters."""
    for document in (ROOT / 'README.md', metafile.parent / 'README.md'):
        text = document.read_text(encoding='utf-8')
        rows = [cells for line in text.splitlines() if (cells := re.split(r'\s*\|\s*', line))[1:]]
        for model in models(metafile):
            row = next((cells for cells in rows if cells[1].endswith(f'/{model["Config"]})')
                        or cells[1].endswith(f']({model["Config"]})')), None)
            if row is None:
                continue
            for result in model['Results']:
                if result['Source'] != 'paper':
                    continue
                values = list(result['Metrics'].values())
                for value in values if document.parent == metafile.parent else values[:1]:
                    assert any(re.match(rf'\[?{value}\b', cell) for cell in row), row
            if 'Parameters' in model:
                assert f'{model["Parameters"] / 1e6:.1f} M' in row
