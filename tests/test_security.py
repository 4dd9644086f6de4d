"""Rules that the whole code base keeps, read from its source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [file for folder in ('detrove', 'projects', 'tools') for file in sorted((ROOT / folder).rglob('*.py'))]
# built-in names and functions that run text as code or as a command
_RUNS_TEXT = {'eval', 'exec', 'os.system', 'os.popen', 'subprocess.getoutput', 'subprocess.getstatusoutput',
              'yaml.load', 'yaml.unsafe_load', 'pickle.load', 'marshal.loads', 'shelve.open'}  # fmt: skip


def calls(file):
    tree = ast.parse(file.read_text(encoding='utf-8'))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_no_call_runs_text_or_opens_checkpoints_unprotected():
    problems = []
    for file in FILES:
        for name, call in calls(file):
            named = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name in _RUNS_TEXT or named.get('shell') == 'True' or (
                    name in ('torch.load', 'load_state_dict_from_url') and 'weights_only' not in named) or (
                    name in ('np.load', 'numpy.load') and named.get('allow_pickle', 'False') != 'False'):
                problems.append(f'{file.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)[:80]}')
    assert not problems


@pytest.mark.slow
def test_imports_use_no_network():
    code = """
import sys
def refuse(event, arguments):
    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname'):
        raise RuntimeError(f'{event}{arguments}')
sys.addaudithook(refuse)
import detrove, detrove.apis, detrove.projects, detrove.cli.train, detrove.cli.test
from detrove.engine import runner
"""
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
