"""Which config files the tests run over: those of this project's detector, and those of other libraries' models."""

import ast
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2] / 'configs'


@cache
def is_one_detr(path):
    """Whether a file or one that it inherits from names OneDETR; reading all configs takes seconds, this does not."""
    text = path.read_text()
    if "'OneDETR'" in text:
        return True
    bases = [node.value for node in ast.parse(text).body
             if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == '_base_']
    inherited = ast.literal_eval(bases[0]) if bases else []
    inherited = [inherited] if isinstance(inherited, str) else inherited
    return any(is_one_detr((path.parent / base).resolve()) for base in inherited if '::' not in base)


def pytest_generate_tests(metafunc):
    files = [path for path in sorted(ROOT.rglob('*.py')) if '_base_' not in path.parts]
    for fixture, wanted in (('detr_config', True), ('stock_config', False)):
        if fixture in metafunc.fixturenames:
            names = [path.relative_to(ROOT).as_posix() for path in files if is_one_detr(path) == wanted]
            metafunc.parametrize(fixture, names, indirect=True, scope='module')


@pytest.fixture(scope='module')
def detr_config(request):
    config = Config.fromfile(ROOT / request.param)
    assert config.model.type == 'OneDETR'
    return config


@pytest.fixture(scope='module')
def stock_config(request):
    config = Config.fromfile(ROOT / request.param)
    assert config.model.type != 'OneDETR'
    return config
