"""What the documentation names exists, and its commands and figures stand in one place."""

import importlib.util
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import detrove as detrove_package
from detrove.cli import COMMANDS
from detrove.cli import main as detrove
from detrove.cli.errors import DEBUG_FLAG
from detrove.cli.safe_option import SAFE_CONFIG_FLAG

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
    assert run.endswith(' && python tools/train.py configs/rt_detr/rtdetr_nano_shapes.py --processes 2')
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


@pytest.fixture(scope='module')
def results_tables():
    """The script that makes the tables of results."""
    spec = importlib.util.spec_from_file_location('results_tables', ROOT / 'docs' / 'results_tables.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_of_readme_agree_with_the_metafiles(results_tables):
    """A row of README that links to a config has the first of the paper's metrics and the parameters."""
    rows = [cells for line in README.splitlines() if (cells := re.split(r'\s*\|\s*', line))[1:]]
    found = 0
    for model in (model for models in results_tables.models_of_pages().values() for model in models):
        row = next((cells for cells in rows if cells[1].endswith(f']({model["Config"]})')), None)
        figures = [next(iter(one['Metrics'].values())) for one in model['Results'] if one['Source'] == 'paper']
        if row is None:
            continue
        found += 1
        assert all(str(figure) in row for figure in figures), row
        if 'Parameters' in model:
            assert f'{model["Parameters"] / 1e6:.1f} M' in row
    assert found > 10


def test_results_of_pages_are_those_of_the_metafiles(results_tables, capsys):
    """After a change of a metafile: `python docs/results_tables.py`."""
    assert results_tables.main(['--check']) == 0, capsys.readouterr().out


@pytest.mark.parametrize('metafile', METAFILES, ids=lambda file: file.parent.name)
def test_page_of_a_paper_has_all_its_parts(metafile, results_tables):
    """Every model stands in one table of results; there are a figure, the way to run it, and the checks."""
    text = (metafile.parent / 'README.md').read_text(encoding='utf-8')
    tables = '\n'.join(match[0] for match in results_tables.TABLE.finditer(text))
    listed = re.findall(r'^\| \[[^]]+\]\(\.\./\.\./([^)]+)\)', tables, re.MULTILINE)
    assert sorted(listed) == sorted(model['Config'] for model in models(metafile))
    assert re.findall(r'^## (Run|Results|Ablations|How equality is checked)$', text, re.MULTILINE)[:2] == [
        'Run', 'Results']
    assert f'](../../docs/images/papers/{metafile.parent.name}.svg)' in text


@pytest.mark.parametrize('figure', sorted(ROOT.glob('docs/images/papers/*.svg')), ids=lambda file: file.stem)
def test_figure_is_a_drawing_that_asks_for_nothing(figure):
    root = ElementTree.parse(figure).getroot()
    assert root.find('{http://www.w3.org/2000/svg}title').text
    assert {element.tag.partition('}')[2] for element in root.iter()} <= {
        'svg', 'title', 'defs', 'marker', 'path', 'rect', 'text', 'polyline', 'circle'}
    assert not re.search(r'href|url\((?!#)', figure.read_text(encoding='utf-8'))


def test_table_keeps_sources_and_data_sets_apart(results_tables):
    def model(name, *results, **entries):
        found = [dict(Dataset=data, Source=source, Metrics=figures) for data, source, figures in results]
        return dict(Name=name, Config=f'configs/x/{name}.py', Task='detection', Training=dict(Epochs=12), Results=found,
                    **entries)

    both = model('a', ('val', 'paper', {'box AP': 50.0, 'box AP50': 60.0}), ('val', 'measured here', {'box AP': 49.9}),
                 **{'Parameters': 40_060_000, 'Official Weights': 'https://x/w.pth'})
    both['Results'][1]['Command'] = 'train a'
    lines = results_tables.table([both, model('b', ('val', 'other', {'box AP': 1.0})),
                                  model('c', ('test', 'paper', {'box AP': 2.0}))], 'projects/x/README.md').splitlines()
    assert lines[0] == ('| config | epochs | parameters | box AP, paper | box AP50, paper | box AP, other | '
                        'box AP, measured here | box AP50, measured here |')
    assert lines[2:5] == [
        '| [a](../../configs/x/a.py) | 12 | 40.1 M | [50.0](https://x/w.pth) | 60.0 | | 49.9 | |',
        '| [b](../../configs/x/b.py) | 12 | | | | 1.0 | | |',
        '| [c](../../configs/x/c.py) | 12 | | 2.0 (test) | | | | |']
    assert lines[-2:] == ['- a: `train a`', '']
    assert results_tables.table([model('b')], 'docs/x.md').splitlines()[0] == (
        '| config | epochs | box AP, measured here |')
    with pytest.raises(ValueError, match='docs/x.md: no model that its metafiles list is named like y_'):
        results_tables.with_tables('<!-- results: y_* -->\n<!-- end of results -->', 'docs/x.md', [both])


def test_changelog_and_citation_are_of_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert citation['version'] == detrove_package.__version__
    assert citation['license'] == 'Apache-2.0' and citation['authors'] and citation['message']
    changes = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    assert re.findall(r'^## (.+)$', changes, re.MULTILINE)[0] == detrove_package.__version__
    assert {command for command in COMMANDS if f'`{command}' not in changes and f'`detrove {command}' not in changes
            and f'`{command.replace("-", "_")}' not in changes} <= {'test'}


@pytest.mark.parametrize('form', sorted(ROOT.glob('.github/ISSUE_TEMPLATE/*.yml')), ids=lambda file: file.stem)
def test_issue_forms_are_what_github_reads(form):
    content = yaml.safe_load(form.read_text(encoding='utf-8'))
    assert content['name'] and content['description']
    ids = [field['id'] for field in content['body']]
    assert len(set(ids)) == len(ids) and all(field['attributes']['label'] for field in content['body'])
    assert {field['type'] for field in content['body']} <= {'textarea', 'input', 'checkboxes', 'dropdown', 'markdown'}


def commands(file):
    """The commands of detrove in the bash blocks of a document, with the words that follow."""
    blocks = (content for language, content in FENCE.findall(file.read_text(encoding='utf-8')) if language == 'bash')
    for line in '\n'.join(blocks).replace('\\\n', ' ').splitlines():
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            if word == 'detrove' and place + 1 < len(words) and not words[place + 1].startswith('-'):
                command, rest = words[place + 1], words[place + 2 :]
            elif re.fullmatch(r'(\./)?tools/\w+\.py', word):
                command, rest = Path(word).stem.replace('_', '-'), words[place + 1 :]
            else:
                continue
            own, passed_on = (rest[: rest.index('--')], rest[rest.index('--') + 1 :]) if '--' in rest else (rest, [])
            yield command, own
            if passed_on:  # `ablate ... -- words` hands the words to train
                yield 'train', passed_on


@pytest.fixture(scope='module')
def help_of():
    """The help of a command, asked for once."""
    known = {}

    def ask(command, capsys):
        if command not in known:
            assert detrove([command, '--help']) == 0
            known[command] = capsys.readouterr().out
        return known[command]

    return ask


@every_document
def test_commands_have_the_options_that_documents_use(file, help_of, capsys):
    for command, words in commands(file):
        assert command in COMMANDS, f'no command {command}'
        options = {word.partition('=')[0] for word in words if word.startswith('--')}
        shown = help_of(command, capsys)
        known = set(re.findall(r'--[\w-]+', shown)) | {DEBUG_FLAG, SAFE_CONFIG_FLAG}  # every command has these
        assert sorted(options - known) == [], f'options that {command} does not have'


def test_site_has_every_page_of_docs_and_projects():
    text = (ROOT / 'mkdocs.yml').read_text(encoding='utf-8')
    listed = re.findall(r'^ +- [^\n]*: (\S+\.md)$', text, re.MULTILINE)
    pages = {file.relative_to(ROOT).as_posix() for place in ('docs/*.md', 'projects/*/README.md')
             for file in ROOT.glob(place)}
    assert sorted(pages - set(listed)) == []
    assert [name for name in listed if not (ROOT / name).is_file()] == []
