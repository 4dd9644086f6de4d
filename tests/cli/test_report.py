"""`detrove report`: the page about a run, about two, and what is said where something is missing."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from detrove.cli import main
from detrove.report.predictions import KEPT_FILE

SECTIONS = ['overview', 'parts', 'errors', 'images', 'curves', 'confusion', 'calibration', 'training', 'speed',
            'configuration']  # fmt: skip
NARROW, WIDE = (360, 740), (1200, 800)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='module')
def run(trained, tmp_path_factory):
    """A work directory of its own."""
    folder = tmp_path_factory.mktemp('report') / 'run'
    shutil.copytree(trained[1].parent, folder)
    return folder


@pytest.fixture(scope='module')
def page(run):
    """The report of the run compared with itself."""
    other = run.with_name('same')
    shutil.copytree(run, other)
    out = run.with_name('two.html')
    assert main(['report', str(run), str(other), '--out', str(out), '--resamples', '20']) == 0
    return out


class Reader(HTMLParser):
    """Collects what the checks below ask for."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources, self.images, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in ('meta', 'img'):
            self.open.append(tag)
        self.ids += [attrs['id']] if 'id' in attrs else []
        self.links += [attrs['href']] if 'href' in attrs else []
        self.sources += [attrs['src']] if 'src' in attrs else []
        self.images += [attrs] if tag == 'img' else []

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def first_value(text, name):
    """The first number of the first row of that name."""
    return float(re.search(rf'<th scope="row">{name}</th>\s*<td[^>]*data-order="([\d.e-]+)"', text)[1])


def test_page_is_whole_and_asks_for_nothing(page):
    text = page.read_text(encoding='utf-8')
    reader = Reader(text)
    assert not reader.open
    assert [name for name in reader.ids if name in SECTIONS] == SECTIONS
    assert len(set(reader.ids)) == len(reader.ids)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert all(source.startswith('data:image/jpeg') for source in reader.sources)
    assert reader.images and all(image['alt'] for image in reader.images)
    assert not re.search(r'https?://', text)


def test_equal_runs_are_not_told_apart(page):
    text = page.read_text(encoding='utf-8')
    assert 'cannot be told apart' in text
    assert '20 resamples of the 4 images' in text
    assert 'The runs have the same settings.' in text


def test_predictions_are_kept_and_used_again(page, run, monkeypatch):
    assert (run / KEPT_FILE).is_file()
    monkeypatch.setattr('detrove.report.predictions.run_test', None)
    assert main(['report', str(run), '--resamples', '5']) == 0
    assert 'best_coco_bbox_mAP_epoch_1.pth (best)' in (run / 'report.html').read_text(encoding='utf-8')
    with pytest.raises(TypeError):  # other settings of the test: predictions anew
        from detrove.report import write_report
        from detrove.report.run import find_runs

        write_report(find_runs([str(run)], cfg_options={'model.test_cfg.max_per_img': 3}), run / 'other.html')


def test_ap_is_that_of_the_evaluator(page):
    text = page.read_text(encoding='utf-8')
    said = {float(value) for value in re.findall(r'coco/bbox_mAP (\d\.\d+)', text)}
    assert len(said) == 1
    assert first_value(text, 'run') == pytest.approx(said.pop(), abs=6e-5)


def test_report_of_a_test_and_of_its_files(trained, capsys):
    config, checkpoint = map(str, trained)
    assert main(['test', config, checkpoint, '--work-dir', 'work', '--out', 'x.json', '--report']) == 0
    assert 'id="errors"' in Path('work/report.html').read_text(encoding='utf-8')
    assert main(['test', config, checkpoint, '--work-dir', 'work', '--out', 'x.pkl']) == 0
    assert main(['report', 'x.json', 'x.pkl', '--config', config, '--resamples', '5']) == 0
    text = Path('x.html').read_text(encoding='utf-8')
    assert 'cannot be told apart' in text
    assert text.count('a file with predictions, which has no log') >= 2


def test_segmentation(segmentation_config, tmp_path):
    assert main(['train', str(segmentation_config()), '--work-dir', 'seg']) == 0
    assert main(['report', 'seg', '--resamples', '5']) == 0
    text = (tmp_path / 'seg' / 'report.html').read_text(encoding='utf-8')
    reader = Reader(text)
    assert [name for name in reader.ids if name in ('classes', 'confusion', 'images')] == ['classes', 'images',
                                                                                            'confusion']
    log = next((tmp_path / 'seg').glob('*/*.log')).read_text()
    miou = float(re.findall(r'mIoU: ([\d.]+)', log)[-1]) / 100
    assert first_value(text, 'seg') == pytest.approx(miou, abs=6e-5)


@pytest.mark.parametrize(('words', 'message'), [
    (['nothing'], 'no such work directory or file'),
    (['empty'], 'has no config file'),
    (['x.json'], 'Pass --config CONFIG'),
    (['x.txt'], 'neither a work directory nor predictions'),
])
def test_what_is_missing_is_said(words, message, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    for name in ('x.json', 'x.txt'):
        (tmp_path / name).write_text('[]')
    assert main(['report', *words]) == 1
    assert message in capsys.readouterr().err


def test_work_directory_without_checkpoint(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / 'run', ignore=shutil.ignore_patterns('*.pth'))
    assert main(['report', 'run']) == 1
    assert 'has no checkpoint' in capsys.readouterr().err


def test_a_pickle_that_runs_code_is_refused(trained, tmp_path, capsys):
    (tmp_path / 'x.pkl').write_bytes(b"cos\nsystem\n(S'echo bad > touched'\ntR.")
    assert main(['report', 'x.pkl', '--config', str(trained[0])]) == 1
    assert 'os.system' in capsys.readouterr().err
    assert not (tmp_path / 'touched').exists()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('size', [NARROW, WIDE])
def test_in_chromium(page, open_page, size, scheme):
    tab = open_page(page, size, scheme)
    head = tab.locator('#parts table').first.locator('th button').nth(1)
    head.focus()
    tab.keyboard.press('Enter')
    values = [float(cell.get_attribute('data-order')) for cell in
              tab.locator('#parts table').first.locator('tbody tr td:nth-child(2)').all()]
    assert values == sorted(values, reverse=True)
