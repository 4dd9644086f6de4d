"""What the wheel holds, and that an installed wheel covers Python from its start."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import detrove
from detrove.version import ONEDL

ROOT = Path(__file__).resolve().parent.parent
pytest.importorskip('setuptools', minversion='77')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, without network."""
    source, out = tmp_path_factory.mktemp('source') / 'detrove', tmp_path_factory.mktemp('dist')
    ignore = shutil.ignore_patterns(
        '.git', 'data', 'work_dirs', '__pycache__', 'tests', '.venv', 'build', 'dist'
    )
    shutil.copytree(ROOT, source, ignore=ignore)
    build = 'import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])'
    result = subprocess.run(
        [sys.executable, '-c', build, str(out)], cwd=source, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (file,) = out.glob('*.whl')
    return file


@pytest.fixture(scope='module')
def venv_python(wheel, tmp_path_factory):
    """An interpreter of its own with the wheel unpacked, that sees this environment's packages behind it."""
    folder = tmp_path_factory.mktemp('venv')
    venv.create(folder, with_pip=False)
    windows = sys.platform == 'win32'
    python = folder / ('Scripts/python.exe' if windows else 'bin/python')
    purelib = subprocess.run(
        [python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'],
        capture_output=True,
        text=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(purelib)
    here = Path(pytest.__file__).parent.parent
    Path(purelib, 'zz_parent.pth').write_text(f'{here}\n')
    return python


def _run(python, code, **environment):
    env = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'DETROVE_BOOT')}
    result = subprocess.run([python, '-c', code], env={**env, **environment}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    return result.stdout.strip()


def test_wheel_holds_packages_projects_configs_and_start_up_files(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {'detrove_boot.py', 'detrove.pth', 'detrove.start', 'detrove/projects/__init__.py'} <= names
    for source, target in (
        ('detrove', 'detrove'),
        ('projects', 'detrove/projects'),
        ('configs', 'detrove/configs'),
    ):
        for file in (ROOT / source).rglob('*.py'):
            assert f'{target}/{file.relative_to(ROOT / source).as_posix()}' in names
    tops = {name.partition('/')[0] for name in names if not name.startswith('detrove')}
    assert not tops, 'the wheel drops other top-level names into site-packages'


def test_wheel_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    base = f'detrove-{detrove.__version__}.dist-info'
    text = archive.read(f'{base}/METADATA').decode()
    assert 'License-Expression: Apache-2.0' in text
    assert 'Requires-Python: >=3.10' in text
    for name, (lowest, first_untested) in ONEDL.items():
        assert f'Requires-Dist: {name}<{first_untested},>={lowest}' in text
    for extra in ('tests', 'export', 'all'):
        assert f'Provides-Extra: {extra}' in text
    assert 'detrove = detrove.cli:main' in archive.read(f'{base}/entry_points.txt').decode()
    assert f'{base}/licenses/LICENSE' in archive.namelist()


def test_installed_wheel_is_active_from_the_start_and_can_be_kept_out(venv_python):
    code = (
        "import sys; print('detrove_boot' in sys.modules, 'detrove' in sys.modules, 'torch' in sys.modules)"
    )
    assert _run(venv_python, code) == 'True False False'
    code = "import sys; print(any(type(f).__name__ == 'DetroveFinder' for f in sys.meta_path))"
    assert _run(venv_python, code) == 'True'
    assert _run(venv_python, code, DETROVE_BOOT='0') == 'False'


def test_spawned_workers_of_a_notebook_have_the_ops(venv_python):
    """`python -c` has no main module that a spawned worker could import detrove from."""
    code = (
        'import multiprocessing\n'
        'pool = multiprocessing.get_context("spawn").Pool(1)\n'
        'print(pool.apply(eval, ("__import__(\'mmcv._ext\')._ext.__name__",)))'
    )
    assert _run(venv_python, code, PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1') == 'detrove.ops.mmcv_ext'


def test_start_up_line_is_harmless_without_the_boot_module(tmp_path):
    setup = {}
    source = (ROOT / 'setup.py').read_text().partition('\nclass ')[0]
    exec(source, {'__file__': str(ROOT / 'setup.py')}, setup)  # the constants above the first class
    line = setup['STARTUP_FILES']['detrove.pth']
    assert line.count('\n') == 1
    assert line.startswith('import ')
    result = subprocess.run([sys.executable, '-S', '-c', line], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, '')
