"""Packaging of detrove: `pip install .`, `pip install -e .`. Nothing is compiled."""

import runpy
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = runpy.run_path(str(ROOT / 'detrove' / 'version.py'))

TIMM = ['timm>=1.0.31']  # older ones lack maps of some networks
EXPORT = ['onnx>=1.17', 'onnxruntime>=1.20', 'onnxscript>=0.3']
OPENVINO = [*EXPORT, 'openvino>=2024.4']
TESTS = ['pytest>=8', 'pytest-xdist>=3.5', 'setuptools>=77', 'hypothesis>=6.100', 'ruff>=0.9', *TIMM, *EXPORT]
SLURM = ['submitit>=1.5']
SEARCH = ['optuna>=4.0']
DOCS = ['mkdocs-material>=9.5,<10']

# Python runs the line of a .pth file at every start, also where detrove_boot was deleted by hand. From 3.15
# on it calls what the .start file of the same name lists instead (PEP 829).
STARTUP_FILES = {
    'detrove.pth': "import sys; exec('try: import detrove_boot\\nexcept ImportError: pass\\n"
    "else: detrove_boot.install_at_startup()')\n",
    'detrove.start': 'detrove_boot:install_at_startup\n',
}


class BuildWithStartupFiles(build_py):
    """Adds the start-up files beside the packages, so that they land at the root of site-packages."""

    def run(self):
        super().run()
        if self.editable_mode:
            return  # an editable install works without: `import detrove` installs the finder
        for name, text in STARTUP_FILES.items():
            Path(self.build_lib, name).write_text(text, encoding='utf-8')

    def get_outputs(self, include_bytecode=True):
        return [
            *super().get_outputs(include_bytecode),
            *(str(Path(self.build_lib, name)) for name in STARTUP_FILES),
        ]


def packages():
    """`projects` and `configs` stand beside `detrove` in the repository and below it when installed."""
    # configs/ holds files for mmengine's Config, not modules: it is one package with data.
    return [
        'detrove',
        *_below('detrove'),
        'detrove.projects',
        *(f'detrove.projects.{name.partition(".")[2]}' for name in _below('projects')),
        'detrove.configs',
    ]


def _below(folder):
    found = find_namespace_packages(str(ROOT / folder), exclude=['*__pycache__*'])
    return [f'{folder}.{name}' for name in found]


def long_description():
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


setup(
    name='detrove',
    version=VERSION['__version__'],
    description='Detection and segmentation training on the OpenMMLab libraries: one DETR, many papers',
    long_description=long_description(),
    long_description_content_type='text/markdown',
    license_expression='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    install_requires=[
        'torch>=2.6',
        'torchvision>=0.21',
        *(
            f'{name}>={lowest},<{first_untested}'
            for name, (lowest, first_untested) in VERSION['ONEDL'].items()
        ),
        'pycocotools>=2.0.8',
        'faster-coco-eval>=1.6',
        'scipy>=1.11',
        'rich>=13',
        'jinja2>=3.1',
        'msgspec>=0.19',
        'packaging',
    ],
    extras_require={
        'tests': TESTS, 'export': EXPORT, 'openvino': OPENVINO, 'slurm': SLURM, 'search': SEARCH,
        'timm': TIMM, 'docs': DOCS,
        'all': [*TESTS, *OPENVINO, *SLURM, *SEARCH],
    },
    entry_points={'console_scripts': ['detrove=detrove.cli:main']},
    py_modules=['detrove_boot'],
    packages=packages(),
    package_dir={'detrove.projects': 'projects', 'detrove.configs': 'configs'},
    include_package_data=False,
    package_data={
        '': ['*.md', '*.yml', '*.yaml', '*.json'],
        'detrove.datasets.browse': ['templates/*.html'],
        'detrove.configs': ['**/*.py', '**/*.md', '**/*.yml'],
        'detrove.report': ['*.html', '*.css', '*.js'],
    },
    cmdclass={'build_py': BuildWithStartupFiles},
)
