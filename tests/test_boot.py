"""The import hook: what it supplies, when it stays out, and that every import order and worker works."""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

import pytest

FAKE_MMCV = {'mmcv/__init__.py': ''}
NMS = """
import torch
from mmcv._ext import nms

def kept():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
    return nms(boxes, torch.tensor([0.5, 0.9, 0.3]), iou_threshold=0.5, offset=0).tolist()
"""


def test_start_up_costs_no_imports(run_python):
    out = run_python(
        """
        import sys
        before = set(sys.modules)
        import detrove_boot
        detrove_boot.install_at_startup()
        print(sorted(set(sys.modules) - before))
        import detrove
        print([name for name in ('torch', 'numpy', 'mmengine', 'importlib.metadata') if name in sys.modules])
        """,
        env={'DETROVE_BOOT': ''},
    ).stdout
    assert out.splitlines() == ["['detrove_boot']", '[]']


def test_install_is_idempotent_and_survives_a_reload(run_python):
    out = run_python("""
        import importlib, sys
        import detrove_boot
        print(detrove_boot.install(), detrove_boot.install())
        print(importlib.reload(detrove_boot).install())
        print(sum(type(finder).__name__ == 'DetroveFinder' for finder in sys.meta_path))
    """).stdout
    assert out.split() == ['True', 'False', 'False', '1']


@pytest.mark.parametrize(('value', 'installed'), [('0', False), ('off', False), ('', True), ('1', True)])
def test_opt_out_keeps_the_start_up_hook_out(run_python, value, installed):
    code = """
        import sys, detrove_boot
        detrove_boot.install_at_startup()
        print(detrove_boot.FINDER in sys.meta_path)
        import detrove
        print(detrove_boot.FINDER in sys.meta_path)
    """
    assert run_python(code, env={'DETROVE_BOOT': value}).stdout.split() == [str(installed), 'True']


def test_missing_extension_is_supplied_as_one_module(run_python, tiny_checkout, write_package):
    out = run_python(
        """
        import importlib, importlib.util
        import detrove
        print(importlib.util.find_spec('mmcv._ext') is not None)
        import mmcv._ext
        import detrove.ops.mmcv_ext as ours
        print(mmcv._ext is ours, importlib.import_module('mmcv._ext') is ours, mmcv._ext.nms())
        """,
        path=[tiny_checkout, write_package(FAKE_MMCV)],
    ).stdout
    assert out.split() == ['True', 'True', 'True', 'stand-in']


def test_real_extension_wins(run_python, tiny_checkout, write_package):
    site = write_package({**FAKE_MMCV, 'mmcv/_ext.py': 'def nms():\n    return "compiled"\n'})
    result = run_python(
        """
        import sys, detrove, mmcv._ext
        print(mmcv._ext.nms(), type(mmcv._ext.__loader__).__name__, 'detrove.ops.mmcv_ext' in sys.modules)
        """,
        path=[tiny_checkout, site],
    )
    assert result.stdout.split() == ['compiled', 'SourceFileLoader', 'False']
    assert not result.stderr


@pytest.mark.parametrize(
    'extension',
    [
        {f'mmcv/_ext{EXTENSION_SUFFIXES[0]}': 'not a library'},
        {'mmcv/_ext.py': 'raise ImportError("undefined symbol: _ZN3c10")'},
    ],
    ids=['does not link', 'fails while it initialises'],
)
def test_broken_extension_falls_back_with_one_line_that_says_why(
    run_python, tiny_checkout, write_package, extension
):
    result = run_python(
        'import detrove, mmcv._ext, detrove.ops.mmcv_ext as ours; print(mmcv._ext.nms(), mmcv._ext is ours)',
        path=[tiny_checkout, write_package({**FAKE_MMCV, **extension})],
    )
    assert result.stdout.split() == ['stand-in', 'True']
    (line,) = [line for line in result.stderr.splitlines() if 'Warning' in line]
    assert '_ext' in line
    assert 'cannot be loaded (' in line
    assert 'detrove supplies' in line


def test_broken_stand_in_is_loud(run_python, tiny_checkout, write_package):
    """mmdet swallows ImportError and then fails later, without the reason."""
    (tiny_checkout / 'detrove' / 'ops' / 'mmcv_ext.py').write_text('import no_such_torchvision')
    out = run_python(
        """
        import detrove
        try:
            import mmcv._ext
        except RuntimeError as error:
            print(error)
        """,
        path=[tiny_checkout, write_package(FAKE_MMCV)],
    ).stdout
    assert 'no_such_torchvision' in out
    assert 'detrove.doctor' in out


def test_without_detrove_the_hook_changes_nothing(run_python, tiny_checkout, write_package):
    site = write_package({**FAKE_MMCV, 'detrove_boot.py': (tiny_checkout / 'detrove_boot.py').read_text()})
    out = run_python(
        """
        import detrove_boot
        detrove_boot.install()
        try:
            import mmcv._ext
        except ModuleNotFoundError as error:
            print(error)
        """,
        path=[site],
        args=('-S', '-c'),  # without site-packages, where a detrove may be installed
    ).stdout
    assert out.strip() == "No module named 'mmcv._ext'"


def test_other_wrapping_finders_do_not_make_it_recurse(run_python, tiny_checkout, write_package):
    out = run_python(
        """
        import importlib.util, sys
        import detrove

        class Wrapping:
            def find_spec(self, name, path=None, target=None):
                if name == 'mmcv._ext' and not getattr(self, 'busy', False):
                    self.busy = True
                    return importlib.util.find_spec(name)

        sys.meta_path.insert(0, Wrapping())
        import mmcv._ext
        print(mmcv._ext.nms())
        """,
        path=[tiny_checkout, write_package(FAKE_MMCV)],
    ).stdout
    assert out.strip() == 'stand-in'


@pytest.mark.skipif(find_spec('pkg_resources') is not None, reason='setuptools still has pkg_resources here')
def test_pkg_resources_for_mmengine_alone(run_python, tiny_checkout, write_package):
    site = write_package(
        {
            'mmengine/__init__.py': """
                import importlib

                def version_of(name):  # as upstream mmengine 0.10 does it, the reload included
                    import pkg_resources
                    from pkg_resources import get_distribution
                    importlib.reload(pkg_resources)
                    try:
                        return get_distribution(name).version
                    except pkg_resources.DistributionNotFound:
                        return None
                """,
            'other.py': 'import pkg_resources',
            'thing-1.5.dist-info/METADATA': 'Metadata-Version: 2.1\nName: thing\nVersion: 1.5\n',
        }
    )
    out = run_python(
        """
        import detrove, mmengine
        try:
            import other
        except ModuleNotFoundError as error:
            print(error.name)
        print(mmengine.version_of('thing'), mmengine.version_of('no-such-thing'))
        import pkg_resources
        print(hasattr(pkg_resources, 'declare_namespace'))
        """,
        path=[tiny_checkout, site],
    ).stdout
    assert out.split() == ['pkg_resources', '1.5', 'None', 'False']


def test_projects_is_another_name_not_a_second_copy(run_python, tiny_checkout, write_package):
    write_package(
        {
            'paper/__init__.py': 'print("registered by", __name__)\nfrom . import model',
            'paper/model.py': '',
            'paper/extra/__init__.py': '',
            'paper/late.py': 'print("late", __name__)',
        },
        folder='checkout/projects',
    )
    out = run_python(
        """
        import projects.paper
        import detrove.projects.paper.model
        import projects.paper.late, detrove.projects.paper.late
        import sys
        print(projects is detrove.projects, projects.paper.model is detrove.projects.paper.model,
              sys.modules['projects.paper.late'] is sys.modules['detrove.projects.paper.late'])
        """,
        path=[],
        cwd=tiny_checkout,
    ).stdout
    assert out.splitlines() == [
        'registered by detrove.projects.paper',
        'late detrove.projects.paper.late',
        'True True True',
    ]


def test_detrove_first_then_everything_imports_and_runs_quietly(run_python):
    result = run_python("""
        import detrove
        import mmdet.models, mmseg.models, mmpretrain.models
        import mmcv.ops, torch
        boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
        print(mmcv.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.3]), 0.5)[1].tolist())
        from mmdet.registry import MODELS
        print(MODELS.get('MaskRCNN').__name__, MODELS.get('mmpretrain.ConvNeXt').__name__)
    """)
    assert result.stdout.splitlines() == ['[1, 2]', 'MaskRCNN ConvNeXt']
    assert 'Traceback' not in result.stderr
    for noise in ('compiled', 'OneDL'):
        assert noise not in result.stdout + result.stderr


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_data_loader_workers_have_the_ops(run_python, tmp_path, method):
    if method == 'fork' and sys.platform == 'win32':
        pytest.skip('no fork on Windows')
    (tmp_path / 'script.py').write_text(
        f"""
import detrove
{NMS}
class Boxes(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.tensor(kept())

if __name__ == '__main__':
    loader = torch.utils.data.DataLoader(Boxes(), num_workers=1, multiprocessing_context={method!r})
    print([batch.tolist() for batch in loader])
"""
    )
    assert run_python('script.py', args=()).stdout.strip() == '[[[1, 2]], [[1, 2]]]'


def test_two_processes_under_torchrun(run_python, tmp_path):
    (tmp_path / 'script.py').write_text(
        f"""
import detrove
{NMS}
import torch.distributed as dist
dist.init_process_group('gloo')
total = torch.tensor(float(sum(kept())))
dist.all_reduce(total)
if dist.get_rank() == 0:
    print(total.item())
dist.destroy_process_group()
"""
    )
    args = ('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2')
    assert run_python('script.py', args=args).stdout.strip() == '6.0'
