"""Finding configs, and errors that name the file and the line."""

from pathlib import Path

import pytest

from detrove.engine.config_file import find_config, read_config


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_path_comes_first(tmp_path):
    Path('mine.py').write_text('a = 1')
    assert find_config('mine.py') == Path('mine.py')
    assert find_config(str(tmp_path / 'mine.py')) == tmp_path / 'mine.py'


@pytest.mark.parametrize(
    'name', ['_base_/default_runtime.py', '_base_/default_runtime', 'configs/_base_/default_runtime.py']
)
def test_then_the_configs_of_detrove(name):
    assert find_config(name).name == 'default_runtime.py'
    assert find_config(name).is_file()


def test_then_those_of_a_package():
    path = find_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py')
    assert path.is_file() and 'mmdet' in path.parts


def test_not_found_suggests_the_nearest():
    with pytest.raises(FileNotFoundError, match=r'nothing at all not found in .*configs$'):
        find_config('nothing at all')
    with pytest.raises(FileNotFoundError, match="did you mean '_base_/default_runtime.py'"):
        find_config('_base_/default_runtme.py')
    with pytest.raises(FileNotFoundError, match="did you mean '_base_/default_runtime.py'"):
        find_config('default_runtme')
    with pytest.raises(FileNotFoundError, match="no package 'mmnothing'"):
        find_config('mmnothing::a.py')


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (dict(main='a = 1\nb = (\n'), r'main\.py, line 2: SyntaxError'),
        (dict(main='a = 1\n\nb = c\n'), r'main\.py, line 3: NameError'),
        (dict(main='_base_ = "./base.py"', base='x = 1\ny = x.z\n'), r'base\.py, line 2 \(read for main\.py\)'),
        (dict(main='_base_ = "./base.py"', base='x = )'), r'base\.py, line 1 \(read for main\.py\): Syntax'),
        (dict(main='custom_imports = dict(imports=["no_such_module"])'), 'no_such_module'),
    ],
)
def test_what_cannot_be_read_is_located(files, message):
    for name, content in files.items():
        Path(f'{name}.py').write_text(content)
    with pytest.raises(ValueError, match=message):
        read_config('main.py')


def test_missing_base_is_named():
    Path('main.py').write_text('_base_ = "./gone.py"')
    with pytest.raises(FileNotFoundError, match='gone.py'):
        read_config('main.py')


def test_base_whose_name_no_file_can_have():
    Path('main.py').write_text("_base_ = 'a\\x00b'")
    with pytest.raises(FileNotFoundError, match=r'^config .*main\.py: '):
        read_config('main.py')


def test_other_kind_of_file():
    Path('main.txt').write_text('')
    with pytest.raises(ValueError, match='expected a file ending in'):
        read_config('main.txt')
