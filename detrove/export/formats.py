"""Writing the formats, and running what was written."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

SUFFIXES = {'onnx': '.onnx', 'torchexport': '.pt2', 'openvino': '.xml', 'torchscript': '.torchscript'}
METADATA_KEY = 'detrove'
_PACKAGES = {'onnx': ('onnx', 'onnxscript', 'onnxruntime'), 'openvino': ('onnx', 'onnxscript', 'openvino')}
_OPSET = 18

Run = Callable[[np.ndarray], list[np.ndarray]]


def check_packages(format: str) -> None:
    """ValueError naming what has to be installed for a format."""
    for name in _PACKAGES.get(format, ()):
        try:
            importlib.import_module(name)
        except ImportError as error:
            extra = 'openvino' if name == 'openvino' else 'export'
            raise ValueError(f"format {format} needs the package {name}, which cannot be imported ({error}): "
                             f"pip install 'detrove[{extra}]'") from error


def companions(path: Path) -> list[Path]:
    """All files that belong to a written file: OpenVINO has its weights beside it."""
    return [path, path.with_suffix('.bin')] if path.suffix == SUFFIXES['openvino'] else [path]


def write_onnx(program: torch.export.ExportedProgram, path: Path, input_name: str, output_names: tuple[str, ...],
               metadata: dict, *, optimize: bool = False) -> None:
    """Write a graph as ONNX, the weights inside.

    `optimize` folds constants, which OpenVINO's reader needs; onnxscript, which does it, makes an invalid graph of
    Relation-DETR, and onnxruntime optimises by itself.

    Raises:
        ValueError: naming the operator that has no ONNX form, and the module that it stands in.
    """
    logging.getLogger('onnxscript').setLevel(logging.ERROR)  # "skipping constant folding", once per node
    try:
        converted = torch.onnx.export(program, dynamo=True, input_names=[input_name], output_names=list(output_names),
                                      opset_version=_OPSET, optimize=optimize, verbose=False)
    except Exception as error:
        raise ValueError(f'ONNX: {_unsupported(program, error)}') from error
    converted.model.metadata_props[METADATA_KEY] = json.dumps(metadata)
    converted.save(str(path))


def write_openvino(onnx_path: Path, path: Path, metadata: dict) -> None:
    """Turn an ONNX file into OpenVINO's pair of files; weights keep their precision."""
    import openvino

    model = openvino.convert_model(str(onnx_path))
    model.set_rt_info(json.dumps(metadata), METADATA_KEY)
    openvino.save_model(model, str(path), compress_to_fp16=False)


def write_torchexport(program: torch.export.ExportedProgram, path: Path, metadata: dict) -> None:
    torch.export.save(program, str(path), extra_files={METADATA_KEY: json.dumps(metadata)})


def write_torchscript(script: torch.jit.ScriptModule, path: Path, metadata: dict) -> None:
    script.save(str(path), _extra_files={METADATA_KEY: json.dumps(metadata)})


def load(format: str, path: Path) -> Run:
    """Open a written file with the runtime of its format: a function from an input array to the output arrays."""
    return {'onnx': _load_onnx, 'openvino': _load_openvino, 'torchexport': _load_torchexport,
            'torchscript': _load_torchscript}[format](path)


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    return lambda array: session.run(None, {name: array})


def _load_openvino(path: Path) -> Run:
    import openvino

    # f32: devices that compute in bfloat16 by themselves would be compared in that
    compiled = openvino.Core().compile_model(str(path), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})

    def run(array):
        results = compiled(array)
        return [np.array(results[port]) for port in compiled.outputs]

    return run


def _load_torchexport(path: Path) -> Run:
    return _as_run(torch.export.load(str(path)).module())


def _load_torchscript(path: Path) -> Run:
    return _as_run(torch.jit.load(str(path)))


def _as_run(module) -> Run:
    @torch.no_grad()
    def run(array):
        return [out.numpy() for out in module(torch.from_numpy(np.ascontiguousarray(array)))]

    return run


def _unsupported(program: torch.export.ExportedProgram, error: Exception) -> str:
    """The operator that an error is about, and the module that it stands in."""
    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__
    text = '\n'.join(map(str, causes))
    for node in program.graph.nodes:
        if node.op == 'call_function' and str(node.target) in text:
            stack = list((node.meta.get('nn_module_stack') or {}).values())
            name, kind = stack[-1] if stack else ('', 'the whole')
            return (f'operator {node.target} of module {name or "the whole"} ({str(kind).rpartition(".")[2]}) cannot '
                    f'be written: {str(causes[-1]).splitlines()[0]}')
    return str(causes[-1]).strip().splitlines()[0]
