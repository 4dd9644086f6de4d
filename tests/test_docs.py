"""What the documentation names exists, and its commands and figures stand in one place."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

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
