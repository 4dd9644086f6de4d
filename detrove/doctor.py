"""`python -m detrove.doctor [--json]`: what is installed, what runs each op, what is missing, the remedy.

Exit status 0 means that training would work on this machine, 1 that it would not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module, metadata

from .compat.versions import DISTRIBUTIONS, installed, problems
from .version import ONEDL, __version__

LOWEST_TORCH = (2, 6)
#: distribution -> what it is for here; the first group is needed to train.
NEEDED = {'torch': 'everything', 'torchvision': 'ops and pretrained weights', 'numpy': 'everything'}
EVALUATORS = {'pycocotools': 'COCO evaluation', 'faster-coco-eval': 'fast COCO evaluation (the default)'}
OPTIONAL = {
    'triton': 'Triton kernels on CUDA',
    'natten': 'neighborhood attention on CUDA',
    'transformers': "mmpretrain's multimodal models, text encoders of mmdet",
    'onnx': 'export',
    'onnxruntime': 'checking an export',
}
#: What training imports, in the order in which a failure is best understood.
IMPORTS = ('torchvision', 'mmengine.runner', 'mmcv.ops', 'mmdet.models', 'mmseg.models', 'mmpretrain.models')


@dataclass
class Finding:
    """Something missing or conflicting. An ``error`` stops training, a ``warning`` may change results."""

    level: str
    what: str
    remedy: str


@dataclass
class Report:
    """All that the doctor found; :meth:`ok` decides the exit status."""

    versions: dict[str, str | None] = field(default_factory=dict)
    ops: dict[str, str] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def ok(self) -> bool:
        return not any(finding.level == 'error' for finding in self.findings)

    def error(self, what: str, remedy: str) -> None:
        self.findings.append(Finding('error', what, remedy))

    def warn(self, what: str, remedy: str) -> None:
        self.findings.append(Finding('warning', what, remedy))


def main(argv: Sequence[str] | None = None) -> int:
    """Examine this environment and print the report. Returns 0 where training would work, else 1."""
    parser = argparse.ArgumentParser(prog='detrove doctor', description=__doc__)
    parser.add_argument('--json', action='store_true', help='print one JSON object instead of tables')
    args = parser.parse_args(argv)
    # What the packages warn of is in the report, with the remedy; what they print must stay out of the JSON.
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter('ignore')
        report = examine()
    if args.json:
        print(json.dumps({**asdict(report), 'ok': report.ok()}, indent=2))
    else:
        _print_tables(report)
    return 0 if report.ok() else 1


def examine() -> Report:
    """Collect the report. Imports torch and all the mm packages."""
    report = Report()
    _examine_versions(report)
    if _examine_torch(report):
        _examine_imports(report)
        _examine_ops(report)
    return report


def _examine_versions(report: Report) -> None:
    found = installed()
    report.versions = {'python': platform.python_version(), 'detrove': __version__}
    for name in NEEDED:
        report.versions[name] = _version(name)
    for package in DISTRIBUTIONS:
        owners = [item for item in found if item.package == package]
        for item in owners:
            report.versions[item.distribution] = item.version
        if not owners:
            onedl = DISTRIBUTIONS[package][0]
            lowest, first_untested = ONEDL[onedl]
            report.versions[onedl] = None
            report.error(
                f'no distribution that provides `import {package}`',
                f"pip install '{onedl}>={lowest},<{first_untested}'",
            )
    for name in (*EVALUATORS, *OPTIONAL):
        report.versions[name] = _version(name)
    if not any(report.versions[name] for name in EVALUATORS):
        report.error(
            'neither pycocotools nor faster-coco-eval: no COCO evaluation', 'pip install faster-coco-eval'
        )
    for problem in problems(found):
        report.warn(*problem)


def _examine_torch(report: Report) -> bool:
    try:
        import torch
    except Exception as error:  # a torch that does not load raises OSError, ImportError or worse
        report.error(
            f'`import torch` fails: {_line(error)}', 'install PyTorch as pytorch.org says for this machine'
        )
        return False
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < LOWEST_TORCH:
        report.error(
            f'torch {torch.__version__} is older than {".".join(map(str, LOWEST_TORCH))}',
            "pip install --upgrade 'torch>=2.6' torchvision",
        )
    report.devices.append(
        f'cpu: {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads'
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            report.devices.append(
                f'cuda:{index}: {gpu.name}, sm_{gpu.major}{gpu.minor}, {gpu.total_memory / 2**30:.0f} GiB'
            )
    elif torch.version.cuda and os.path.exists('/proc/driver/nvidia'):
        report.warn(
            f'an NVIDIA driver is loaded, but this torch (CUDA {torch.version.cuda}) sees no GPU',
            'update the driver, or install a torch built for its CUDA version; check CUDA_VISIBLE_DEVICES',
        )
    if torch.backends.mps.is_available():
        report.devices.append('mps: Apple GPU')
    return True


def _examine_imports(report: Report) -> None:
    for name in IMPORTS:
        if name.partition('.')[0] in DISTRIBUTIONS and not _is_installed(report, name):
            continue
        try:
            import_module(name)
        except Exception as error:  # third-party packages fail in every way; the doctor reports each
            report.error(f'`import {name}` fails: {_line(error)}', _remedy(name, error))
            return
    try:
        import_module('detrove.projects')
    except Exception as error:
        report.error(
            f'`import detrove.projects` fails: {_line(error)}', 'reinstall detrove; if it persists, report it'
        )
    from .compat.mmpretrain import WORKS_WITH, multimodal_status

    why_off = multimodal_status()
    if why_off is not None and report.versions['transformers']:
        report.warn(
            f"mmpretrain's multimodal models are off: {why_off}", f"pip install '{WORKS_WITH}', if wanted"
        )


def _examine_ops(report: Report) -> None:
    try:
        extension = import_module('mmcv._ext')
    except Exception as error:
        report.error(f'`import mmcv._ext` fails: {_line(error)}', 'reinstall detrove')
        return
    if extension.__name__ != 'detrove.ops.mmcv_ext':
        report.ops = {'all of mmcv.ops': f'compiled mmcv ({extension.__file__})'}
    else:
        report.ops = extension.implementations()
    from .ops.neighborhood_natten import natten_status
    from .ops.triton_support import triton_obstacle

    obstacle = triton_obstacle()
    report.ops['Triton kernels on CUDA'] = 'ready' if obstacle is None else f'not used: {obstacle}'
    report.ops['neighborhood_attention'] = f'PyTorch; on CUDA Triton, if ready ({natten_status()})'


def _is_installed(report: Report, module: str) -> bool:
    return any(report.versions.get(name) for name in DISTRIBUTIONS[module.partition('.')[0]])


def _remedy(name: str, error: Exception) -> str:
    if name == 'torchvision' or 'torchvision' in str(error):
        return 'torch and torchvision were not built for each other: reinstall both together from one index'
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f'pip install {error.name.partition(".")[0]}'
    return f'pip install --force-reinstall --no-deps {DISTRIBUTIONS[name.partition(".")[0]][0]}'


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _line(error: Exception) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())


def _print_tables(report: Report) -> None:
    purposes = {**NEEDED, **EVALUATORS, **OPTIONAL}
    _print_table(
        'Versions',
        ('package', 'version', 'for'),
        [
            (name, version or 'not installed', purposes.get(name, ''))
            for name, version in report.versions.items()
        ],
    )
    _print_table('Ops', ('op', 'runs on'), list(report.ops.items()))
    _print_table('Devices', ('device',), [(device,) for device in report.devices])
    _print_table(
        'Findings',
        ('', 'what', 'remedy'),
        [(finding.level, finding.what, finding.remedy) for finding in report.findings],
    )
    print('Training works here.' if report.ok() else 'Training would not work here: see the errors above.')


def _print_table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if not rows:
        return
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:  # the doctor also serves a patient without rich
        print(title, *('  '.join(row) for row in rows), sep='\n  ', end='\n\n')
        return
    table = Table(*columns, title=title, title_justify='left')
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == '__main__':
    sys.exit(main())
