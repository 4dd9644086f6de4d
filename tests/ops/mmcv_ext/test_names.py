"""Every name that mmcv binds exists; those not supplied say so when they are called."""

import ast
import importlib
import pkgutil
from pathlib import Path

import mmcv.ops
import mmcv.utils
import pytest
from mmcv import _ext

from detrove.ops import mmcv_ext


def names_bound_by_mmcv():
    names = set()
    for path in Path(mmcv.ops.__file__).parent.glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'load_ext':
                names.update(ast.literal_eval(node.args[1]))
    return names


def test_every_module_of_mmcv_ops_imports():
    for module in pkgutil.iter_modules(mmcv.ops.__path__, 'mmcv.ops.'):
        importlib.import_module(module.name)
    names = names_bound_by_mmcv()
    assert len(names) > 100
    assert all(callable(getattr(mmcv_ext, name)) for name in names)


def test_supplied_ops_are_bound_by_mmcv_and_come_from_the_named_library():
    table = mmcv_ext.implementations()
    assert set(table.values()) == {'torchvision', 'PyTorch'}
    assert sorted(name for name, library in table.items() if library == 'torchvision') == [
        'deform_conv_backward_input',
        'deform_conv_backward_parameters',
        'deform_conv_forward',
        'modulated_deform_conv_backward',
        'modulated_deform_conv_forward',
        'nms',
        'roi_align_backward',
        'roi_align_forward',
    ]
    bound = names_bound_by_mmcv() | {'line_nms_forward'}  # only onedl-mmcv has lanes
    assert set(table) <= bound
    assert all(getattr(mmcv_ext, name).__module__.startswith(mmcv_ext.__name__ + '.') for name in table)


def test_calling_an_op_that_is_not_supplied():
    assert 'nms_rotated' not in mmcv_ext.implementations()
    with pytest.raises(NotImplementedError, match="mmcv op 'nms_rotated' is not available.*docs/ops.md"):
        mmcv_ext.nms_rotated(1, 2, iou_threshold=0.5)


@pytest.mark.parametrize('name', ['__wrapped__', '__path_hooks__', '_private'])
def test_private_names_do_not_exist(name):
    assert not hasattr(mmcv_ext, name)


def test_environment_report():
    assert _ext.get_compiler_version() and _ext.get_compiling_cuda_version()
    assert isinstance(mmcv.ops.get_compiling_cuda_version(), str)
