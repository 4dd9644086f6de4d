"""`detrove browse-dataset`: pictures of what training gets, and the page."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from detrove.cli import main

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """Tags, and where they would fetch something from."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.sources += [attrs[key] for key in ('src', 'href', 'srcset', 'action') if key in attrs]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_detection(detection_config, tmp_path, capsys):
    config = detection_config("train_dataloader['dataset'] = dict(dataset, metainfo=dict(classes=('dog', 'cat')))")
    assert main(['browse-dataset', str(config), '--number', '10']) == 0
    folder = tmp_path / 'work_dirs' / config.stem / 'browse_train'
    assert f'4 images drawn, open {folder.relative_to(tmp_path) / "index.html"}' in capsys.readouterr().out
    assert len(list(folder.glob('*_original.jpg'))) == len(list(folder.glob('*_augmented.jpg'))) == 4
    text = (folder / 'index.html').read_text()
    page = Page(text)
    assert len(page.sources) == 8 and all(source.startswith('data:image/jpeg;base64,') for source in page.sources)
    assert 'http' not in re.sub(r'http-equiv', '', text) and "default-src 'none'" in text
    assert [json.loads(attrs['data-classes']) for tag, attrs in page.tags if tag == 'li'] == [['cat', 'dog']] * 3 + [[]]
    assert '<option value="cat">cat (3)</option>' in text and 'no object' in text
    controls = {tag for tag, attrs in page.tags if attrs.get('id') in ('class', 'previous', 'next')}
    assert controls == {'select', 'button'}  # reached with the keyboard by themselves
    assert any(tag == 'meta' and attrs.get('name') == 'viewport' for tag, attrs in page.tags)
    assert all(attrs.get('alt') for tag, attrs in page.tags if tag == 'img')


def test_segmentation(segmentation_config, tmp_path):
    assert main(['browse-dataset', str(segmentation_config()), '--split', 'val', '--out', 'look', '--number', '2']) == 0
    assert len(list((tmp_path / 'look').glob('*.jpg'))) == 4
    assert '<option value="cat">cat (1)</option>' in (tmp_path / 'look/index.html').read_text()


def test_wrapped_data_sets_and_names_that_need_escaping(detection_config, tmp_path):
    config = detection_config("""
        data = dict(dataset, metainfo=dict(classes=('dog', 'cat')))
        train_dataloader['dataset'] = dict(type='RepeatDataset', times=2, dataset=data)
    """)
    assert main(['browse-dataset', str(config), '--out', 'look', '--number', '3']) == 0
    assert len(list((tmp_path / 'look').glob('*_augmented.jpg'))) == 3


def test_other_files_are_left_alone(detection_config, tmp_path, capsys):
    words = ['browse-dataset', str(detection_config()), '--out', 'look', '--number', '1']
    (tmp_path / 'look').mkdir()
    (tmp_path / 'look/mine.txt').write_text('mine')
    assert main(words) == 1
    assert 'holds other files (mine.txt)' in capsys.readouterr().err
    assert main([*words, '--force']) == 0
    (tmp_path / 'look/mine.txt').unlink()
    assert main([*words[:-1], '2']) == 0  # what it wrote itself is replaced
    assert len(list((tmp_path / 'look').glob('*.jpg'))) == 4


@pytest.mark.parametrize('words', [['--number', '0'], ['--split', 'trian']])
def test_wrong_usage(words, capsys):
    assert main(['browse-dataset', 'x.py', *words]) == 2


def test_tool_is_the_command():
    words = [sys.executable, ROOT / 'tools/browse_dataset.py', '--help']
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 0 and 'usage: detrove browse-dataset' in result.stdout


def test_page_in_chromium(detection_config, tmp_path, monkeypatch, browser):
    """Paged, filtered by class, by mouse and by keys, on a narrow screen."""
    monkeypatch.setattr('detrove.datasets.browse.page._PER_PAGE', 2)
    assert main(['browse-dataset', str(detection_config()), '--out', 'look', '--number', '4']) == 0
    tab = browser.new_page(viewport=dict(width=360, height=740))
    troubles, requests = [], []
    tab.on('pageerror', lambda error: troubles.append(str(error)))
    tab.on('console', lambda message: troubles.append(message.text))
    tab.on('request', lambda request: requests.append(request.url))
    tab.goto((tmp_path / 'look' / 'index.html').as_uri())

    def shown():
        cards = tab.locator('#cards > li')
        return [index for index in range(cards.count()) if cards.nth(index).is_visible()]

    assert tab.evaluate('document.documentElement.scrollWidth') <= 360, 'wider than the screen'
    assert shown() == [0, 1] and tab.locator('#position').text_content() == 'page 1 of 2, 4 images'
    tab.locator('#next').click()
    assert shown() == [2, 3]
    tab.keyboard.press('ArrowLeft')
    assert shown() == [0, 1]
    tab.locator('#class').select_option('cat')
    tab.locator('#next').click()
    assert len(shown()) == 1 and tab.locator('#position').text_content() == 'page 2 of 2, 3 images'
    tab.keyboard.press('o')
    visible = [figure.get_attribute('data-kind') for figure in tab.locator('figure').all() if figure.is_visible()]
    assert visible == ['original']
    tab.close()
    assert troubles == []
    assert [url for url in requests if not url.startswith(('file:', 'data:'))] == []
