"""Repair of earlier imports, safe loading of checkpoints, versions, mmpretrain's multimodal half."""

import io
import pickle
import warnings
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint

from detrove.compat import mmpretrain, versions
from detrove.compat.safe_load import allow_mmengine_checkpoints
from detrove.compat.versions import Installed
from detrove.version import ONEDL, OPENMMLAB

ROOT = Path(__file__).resolve().parent.parent
GUARDED = """
try:
    from mmcv.ops import nms as _nms
except ImportError:
    def _nms():
        raise RuntimeError('no ops')
"""


def test_earlier_imports_are_repaired(run_python, tiny_checkout, write_package):
    site = write_package(
        {
            'mmcv/__init__.py': '',
            'mmcv/ops.py': 'from mmcv._ext import nms',
            'mmdet/__init__.py': '',
            'mmdet/heads/__init__.py': 'from .head import _nms\nfrom . import loud',
            'mmdet/heads/head.py': GUARDED,
            'mmdet/heads/loud.py': 'from mmcv.ops import nms',
        }
    )
    result = run_python(
        """
        try:
            import mmdet.heads
        except ImportError as error:
            print(error.name)
        import detrove, mmdet.heads
        print(mmdet.heads._nms(), mmdet.heads.head._nms(), mmdet.heads.loud.nms())
        """,
        path=[tiny_checkout, site],
    )
    assert result.stdout.splitlines() == ['mmcv._ext', 'stand-in stand-in stand-in']
    assert not result.stderr


def test_heirs_of_a_missing_op_are_reported(run_python, tiny_checkout, write_package):
    head = """
        try:
            from mmcv.ops import Conv
        except ImportError:
            class Conv:
                pass

        class MyConv(Conv):
            pass
        """
    site = write_package(
        {
            'mmcv/__init__.py': '',
            'mmcv/ops.py': 'from mmcv._ext import nms\nclass Conv: pass',
            'mmdet/__init__.py': '',
            'mmdet/head.py': head,
        }
    )
    stderr = run_python('import mmdet.head, detrove', path=[tiny_checkout, site]).stderr
    assert 'mmdet.head.MyConv inherited' in stderr
    assert '`import detrove` before' in stderr


def test_mmdet_first_then_detrove_leaves_no_stale_op(run_python):
    """Every name that mmdet and mmseg take from mmcv.ops is mmcv's own afterwards, whatever failed before."""
    out = run_python("""
        import ast, importlib, sys, warnings
        warnings.simplefilter('ignore')
        import mmdet.structures.mask
        for name in ('mmdet.models', 'mmseg.models', 'mmdet.apis'):
            try:
                importlib.import_module(name)
            except ImportError:
                pass
        import detrove
        import mmcv.ops, mmdet.models, mmseg.models
        from mmdet.registry import MODELS

        checked = stale = 0
        for name, module in list(sys.modules.items()):
            if name.partition('.')[0] not in ('mmdet', 'mmseg'):
                continue
            for node in ast.walk(ast.parse(open(module.__file__).read())):
                if not isinstance(node, ast.ImportFrom) or not (node.module or '').startswith('mmcv.ops'):
                    continue
                source = importlib.import_module(node.module)
                for alias in node.names:
                    bound = getattr(module, alias.asname or alias.name, None)
                    if bound is not None:
                        checked += 1
                        stale += bound is not getattr(source, alias.name)
        print(checked > 40, stale, MODELS.get('MaskRCNN').__name__)
    """).stdout
    assert out.splitlines()[-1] == 'True 0 MaskRCNN'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A file as mmengine's CheckpointHook writes it, with the message hub's history."""
    hub = MessageHub.get_instance('test_compat')
    for value in (1.0, 2.0, 3.0):
        hub.update_scalar('train/loss', torch.tensor(value))
    hub.update_info('iter', np.int64(3))
    file = tmp_path_factory.mktemp('checkpoint') / 'epoch_1.pth'
    meta = {'epoch': 1, 'seed': np.float64(0.5), 'dataset_meta': {'palette': np.arange(3)}}
    save_checkpoint(
        {'state_dict': {'w': torch.ones(2)}, 'message_hub': hub.state_dict(), 'meta': meta}, str(file)
    )
    return file


def test_mmengine_checkpoint_loads_with_weights_only(checkpoint):
    allow_mmengine_checkpoints()
    allow_mmengine_checkpoints()
    loaded = torch.load(checkpoint, weights_only=True)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert (history.mean(), history.current()) == (2.0, 3.0)
    assert loaded['meta']['dataset_meta']['palette'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('runner_first', [False, True])
def test_importing_mmengine_and_detrove_suffices_to_load(run_python, checkpoint, runner_first):
    imports = ['import detrove', 'import mmengine.runner'][:: -1 if runner_first else 1]
    code = [*imports, 'import torch', f'print(sorted(torch.load({str(checkpoint)!r}, weights_only=True)))']
    assert run_python('\n'.join(code)).stdout.strip() == "['message_hub', 'meta', 'state_dict']"


def test_getattr_in_a_checkpoint_reaches_nothing_else():
    class Reach:
        def __reduce__(self):
            return getattr, (torch._utils._rebuild_tensor_v2, '__globals__')

    allow_mmengine_checkpoints()
    file = io.BytesIO()
    torch.save({'x': Reach()}, file)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="attribute '__globals__'"):
        torch.load(file, weights_only=True)


def _installed(**versions_by_name):
    return [
        Installed(package, distribution, versions_by_name[distribution.replace('-', '_')])
        for package, distributions in versions.DISTRIBUTIONS.items()
        for distribution in distributions
        if distribution.replace('-', '_') in versions_by_name
    ]


@pytest.mark.parametrize('family', [ONEDL, OPENMMLAB])
def test_the_tested_versions_pass(family):
    lowest = {name.replace('-', '_'): low for name, (low, _) in family.items() if name != 'mmcv-lite'}
    assert versions.problems(_installed(**lowest)) == []


@pytest.mark.parametrize('version', ['2.0.0', '2.4.0', '3.0'])
def test_untested_version_names_the_range(version):
    (problem,) = versions.problems(_installed(onedl_mmcv=version))
    assert f'onedl-mmcv {version}' in problem.what
    assert '>=2.3.6,<2.4' in problem.remedy


def test_distribution_never_tested_names_the_others():
    (problem,) = versions.problems(_installed(mmcv_full='1.7.2'))
    assert 'mmcv-full 1.7.2' in problem.what
    assert 'onedl-mmcv or mmcv' in problem.remedy


def test_both_families_installed_are_reported_with_the_way_out():
    (problem,) = versions.problems(_installed(onedl_mmcv='2.3.6', mmcv='2.1.0'))
    assert 'onedl-mmcv 2.3.6 and mmcv 2.1.0' in problem.what
    assert 'pip uninstall -y mmcv`' in problem.remedy
    assert 'onedl-mmcv==2.3.6' in problem.remedy


def test_problems_warn_once_and_on_the_first_rank_only(monkeypatch):
    monkeypatch.setattr(versions, 'installed', lambda: _installed(onedl_mmcv='9.0'))
    monkeypatch.setattr(versions, '_already_warned', False)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        monkeypatch.setenv('RANK', '1')
        versions.warn_once()
    monkeypatch.setenv('RANK', '0')
    with pytest.warns(UserWarning, match='onedl-mmcv 9.0 is outside the range') as caught:
        versions.warn_once()
        versions.warn_once()
    assert len(caught) == 1


def test_installed_finds_this_environment():
    found = {item.package: item.version for item in versions.installed()}
    assert set(found) == set(versions.DISTRIBUTIONS)


def _dependency(with_multimodal=True):
    return SimpleNamespace(WITH_MULTIMODAL=with_multimodal, register_multimodal_placeholder=None)


@pytest.mark.parametrize(
    ('version', 'broken', 'reason'),
    [
        ('5.0.0', None, 'transformers 5.0.0 is installed'),
        ('4.57.1', 'No module named', 'transformers 4.57.1 does not import here'),
    ],
)
def test_multimodal_is_off_where_transformers_cannot_serve_it(monkeypatch, version, broken, reason):
    def import_module(name):
        raise ModuleNotFoundError(broken)

    monkeypatch.setattr(mmpretrain.metadata, 'version', lambda name: version)
    monkeypatch.setattr(mmpretrain, 'import_module', import_module)
    monkeypatch.setattr(mmpretrain, '_why_off', None)
    dependency = _dependency()
    mmpretrain.check_multimodal(dependency)
    assert not dependency.WITH_MULTIMODAL
    with pytest.raises(ImportError, match=reason):
        mmpretrain.refuse_multimodal('mmpretrain.models.multimodal.blip')


def test_multimodal_stays_on_where_transformers_works(monkeypatch):
    monkeypatch.setattr(mmpretrain.metadata, 'version', lambda name: '4.57.1')
    monkeypatch.setattr(mmpretrain, 'import_module', lambda name: None)
    monkeypatch.setattr(mmpretrain, '_why_off', None)
    dependency = _dependency()
    mmpretrain.check_multimodal(dependency)
    assert dependency.WITH_MULTIMODAL
    mmpretrain.refuse_multimodal('mmpretrain.models.multimodal.blip')


def test_transformers_5_takes_nothing_down(run_python, write_package):
    """mmpretrain looks at the metadata alone."""
    site = write_package({'transformers-5.0.0.dist-info/METADATA': 'Name: transformers\nVersion: 5.0.0\n'})
    result = run_python(
        """
        import detrove
        import mmdet.models, mmpretrain.models
        from mmpretrain.registry import MODELS
        print(MODELS.get('ConvNeXt').__name__)

        def attempts():
            yield lambda: __import__('mmpretrain.models.multimodal.blip2')
            yield lambda: MODELS.build(dict(type='BlipCaption'))
            yield lambda: mmpretrain.models.multimodal.Flamingo

        for attempt in attempts():
            try:
                attempt()
            except ImportError as error:
                print(error)
        """,
        path=[ROOT, site],
    )
    name, *messages = result.stdout.splitlines()
    assert name == 'ConvNeXt'
    assert len(messages) == 3
    for message in messages:
        assert 'transformers 5.0.0 is installed' in message
        assert mmpretrain.WORKS_WITH in message
    assert 'Traceback' not in result.stderr


def test_pkg_resources_stand_in_reads_metadata():
    from detrove.compat import pkg_resources_standin as standin

    torch_distribution = standin.get_distribution('torch')
    assert torch_distribution.version == metadata.version('torch')
    assert torch_distribution.has_metadata('METADATA')
    assert not torch_distribution.has_metadata('no-such-file')
    with pytest.raises(standin.DistributionNotFound, match='no-such-thing'):
        standin.get_distribution('no-such-thing')
    with pytest.raises(AttributeError, match='setuptools<82'):
        standin.declare_namespace  # noqa: B018
