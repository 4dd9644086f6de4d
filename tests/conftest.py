"""Fixtures that several test files share."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

os.environ.setdefault('GOMP_SPINCOUNT', '100000')  # as detrove's command does: spinning threads stall a shared machine

if 'PYTEST_XDIST_WORKER' in os.environ:  # a core for each process of `pytest -n`, and for what its tests start
    os.environ.setdefault('OMP_NUM_THREADS', '1')

import detrove  # noqa: E402, F401  (before any test file imports mmdet or mmseg)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run_python(tmp_path):
    """Run code in a fresh interpreter that sees ``path`` (this checkout by default); returns what it printed.

    The start-up hook of an installed detrove is kept out unless ``env`` says otherwise.
    """

    def run(code, *, path=(ROOT,), env=None, args=('-c',), cwd=tmp_path):
        result = subprocess.run(
            [sys.executable, *args, textwrap.dedent(code)],
            env={
                **os.environ,
                'PYTHONPATH': os.pathsep.join(map(str, path)),
                'DETROVE_BOOT': '0',
                'OMP_NUM_THREADS': '1',
                **(env or {}),
            },
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    return run


@pytest.fixture
def tiny_checkout(tmp_path):
    """A checkout with detrove's import layer alone and a stand-in for ``mmcv._ext`` that needs no torch."""
    root = tmp_path / 'checkout'
    root.mkdir()
    shutil.copy(ROOT / 'detrove_boot.py', root)
    shutil.copy(ROOT / 'setup.py', root)
    for package in (ROOT / 'detrove').iterdir():
        if package.is_dir():
            (root / 'detrove' / package.name).mkdir(parents=True)
    for name in ('__init__.py', 'version.py'):
        shutil.copy(ROOT / 'detrove' / name, root / 'detrove')
    shutil.copytree(ROOT / 'detrove' / 'compat', root / 'detrove' / 'compat', dirs_exist_ok=True)
    (root / 'detrove' / 'ops' / 'mmcv_ext.py').write_text('def nms():\n    return "stand-in"\n')
    (root / 'projects').mkdir()
    shutil.copy(ROOT / 'projects' / '__init__.py', root / 'projects')
    return root


@pytest.fixture
def write_package(tmp_path):
    """Write modules ``{'mmcv/ops.py': source}`` below a folder for ``path`` of run_python; returns it."""

    def write(files, folder='site'):
        for name, source in files.items():
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source))
        return tmp_path / folder

    return write


@pytest.fixture(autouse=True)
def no_traces_of_a_runner():
    """mmengine's Runner leaves its scope, logger, visualizer and message hub behind in the process.

    Later tests would build in that scope, draw into a folder that is gone, and, where a runner starts in the same
    second, log to where standard output was then.
    """
    yield
    if 'mmengine.utils' in sys.modules:
        kinds = [sys.modules['mmengine.utils'].ManagerMixin]
        for kind in kinds:
            kind._instance_dict.clear()
            kinds += kind.__subclasses__()


@pytest.fixture
def make_memory():
    """Tokens (B, S, C) and level shapes -> `Memory`, through the maps that a neck would give."""
    from detrove.layers import flatten_levels

    def make(tokens, spatial_shapes, image_sizes_hw=None, input_hw=None):
        maps = tokens.split([height * width for height, width in spatial_shapes], dim=1)
        feats = [level.transpose(1, 2).unflatten(2, hw) for level, hw in zip(maps, spatial_shapes, strict=True)]
        return flatten_levels(feats, image_sizes_hw, input_hw)

    return make


@pytest.fixture(scope='session')
def browser():
    """A headless Chromium; tests that ask for one are skipped where there is none."""
    playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright (pip install playwright)')
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
    path = next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=path, args=['--no-sandbox'])
        except playwright.Error as error:
            pytest.skip(f'no Chromium: neither {", ".join(names)} nor `playwright install chromium` ({error})')
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Opens a page of the report's kind and checks what holds for all of them; gives the tab.

    Nothing of it is wider than the screen, its pictures are there, it is dark or light as asked for, the first key
    leads to its content; scripts fail nowhere, also in what the test does with it, and nothing is asked for from
    outside.
    """
    opened, troubles, requests = [], [], []

    def shade(tab, name):
        value = tab.evaluate(f'getComputedStyle(document.body).{name}')
        return sum(int(part) for part in re.findall(r'\d+', value)[:3]) / 3

    def open_(path, size, scheme='light'):
        tab = browser.new_page(viewport=dict(zip(('width', 'height'), size, strict=True)), color_scheme=scheme)
        opened.append(tab)
        tab.set_default_timeout(120_000)  # milliseconds, for busy machines
        tab.on('pageerror', lambda error: troubles.append(str(error)))
        tab.on('console', lambda message: troubles.append(message.text))
        tab.on('request', lambda request: requests.append(request.url))
        tab.goto(path.as_uri())
        assert tab.evaluate('document.documentElement.scrollWidth') <= size[0], 'wider than the screen'
        assert tab.evaluate('[...document.images].every(image => image.complete && image.naturalWidth > 0)')
        assert (shade(tab, 'backgroundColor') < 128, shade(tab, 'color') < 128) == (scheme == 'dark', scheme == 'light')
        tab.keyboard.press('Tab')
        assert tab.evaluate('document.activeElement.className') == 'skip'
        return tab

    yield open_
    for tab in opened:
        tab.close()
    assert troubles == []
    assert [url for url in requests if not url.startswith(('file:', 'data:'))] == []


def pytest_addoption(parser):
    parser.addoption('--combinations', choices=['sample', 'all'], default='sample',
                     help='how much of the matrix of tests/detectors/test_combinations.py to run')
