"""Configs read as data."""

import json
from pathlib import Path

import pytest

from detrove.engine.config_check import load_config
from detrove.engine.config_file import read_config


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DETROVE_SAFE_CONFIG', '1')


def write(text, name='main.py'):
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize('name', [
    'rt_detr/rtdetr_nano_shapes.py', 'rt_detr/rtdetr_r50vd_8xb2-72e_coco.py', 'cswin/cswin-nano_upernet_shapes.py',
    'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'])
def test_configs_that_are_data_are_the_same(name, monkeypatch):
    safe = load_config(name).to_dict()
    monkeypatch.delenv('DETROVE_SAFE_CONFIG')
    assert safe == load_config(name).to_dict()


def test_json_and_yaml():
    write(json.dumps(dict(a=[1, 2], b=dict(c=3))), 'base.json')
    write('_base_: base.json\nb: {d: 4}\n', 'main.yaml')
    assert read_config('main.yaml').to_dict() == dict(a=[1, 2], b=dict(c=3, d=4))


@pytest.mark.parametrize('text, message', [
    ('import os\n', 'line 1: `import os`: only assignments'),
    ('a = 1\nb = open("MARK", "w")\n', r"line 2: `open`: such a call is code"),
    ('a = ().__class__\n', 'only settings of a dict'),
    ('a = (lambda: 1)()\n', 'such a call is code'),
    ('a = 9 ** 9 ** 9\n', 'too large'),
    ('a = "x" * 10 ** 9\n', 'too large'),
    ('a = [1]\n' + 'a = [a, a, a, a, a, a]\n' * 20, 'more than 500,000 steps'),
    ('a = {"b": 1}\na["b"] = a\nc = a\n', 'nested more than'),
    ('model = dict(type="os.system", command="touch MARK")\n', r"model\.type: 'os\.system' is not registered"),
    ('model = dict(test_cfg=dict(nms=dict(type="__import__(1)")))\n', 'not registered'),
    ('optim_wrapper = dict(constructor="evil.Constructor")\n', 'not registered'),
    ('custom_imports = dict(imports=["evil"])\n', 'imports other than'),
    ('default_scope = "evil"\n', 'is none of mmengine'),
    ('work_dir = "/elsewhere"\n', 'out of the current folder'),
    ('default_hooks = dict(a=dict(type="CheckpointHook", out_dir="../../x"))\n', 'out of the current folder'),
    ('load_from = "http://127.0.0.1/x"\n', 'is an address'),
    ('model = dict(vis=dict(tracking_uri="https://a.org/"))\n', 'is an address'),
    ('a = "{{$HOME:x}}"\n', 'not read with --safe-config'),
    ('_base_ = "main.py"\n', r'inherits from itself: .*main\.py -> .*main\.py'),
    ('_base_ = "gone.py"\n', "no file 'gone.py' to inherit"),
    (f'_base_ = "{"x" * 300}.py"\n', "no file 'xxx"),
    ('_base_ = "mmdet::gone.py"\n', 'mmdet::gone.py not found'),
    ('_base_ = "evil::a.py"\n', 'in no package'),
])
def test_what_is_not_data_is_refused(text, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_config(write(text))
    assert 'main.py' in str(caught.value) and not Path('MARK').exists()


@pytest.mark.parametrize('text', ["a: !!python/object/apply:os.mkdir ['MARK']\n", '- 1\n', 'a: &a [*a]\n', '{' * 2000])
def test_yaml_runs_nothing(text):
    with pytest.raises(ValueError, match='main.yaml'):
        read_config(write(text, 'main.yaml'))
    assert not Path('MARK').exists()


def test_circles_are_named_without_the_option_too(monkeypatch):
    monkeypatch.delenv('DETROVE_SAFE_CONFIG')
    write('_base_ = "main.py"\n', 'other.py')
    with pytest.raises(ValueError, match=r'inherits from itself: .*main\.py -> .*other\.py -> .*main\.py'):
        read_config(write('_base_ = "other.py"\n'))


def test_the_option_holds_for_one_command(monkeypatch, capsys):
    from detrove.cli import main

    monkeypatch.delenv('DETROVE_SAFE_CONFIG')
    write('import os\nos.mkdir("MARK")\n')
    assert main(['train', '--safe-config', 'main.py']) == 1
    assert 'only assignments are data' in capsys.readouterr().err and not Path('MARK').exists()
    read_config('main.py')  # without the option, it is run
    assert Path('MARK').exists()
