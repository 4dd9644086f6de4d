"""The command itself: help, versions, and how errors look."""

import pytest

import detrove
from detrove.cli import main
from detrove.cli.errors import is_about_the_input, run_reporting_errors

COMMANDS = ['train', 'test', 'convert-checkpoint', 'convert-dataset', 'check-dataset', 'benchmark', 'ablate', 'doctor']


def test_version(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'detrove {detrove.__version__}\n'


def test_help_lists_the_commands(capsys):
    assert main(['--help']) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)
    assert main([]) == 2


@pytest.mark.parametrize('command', COMMANDS)
def test_help_of_each_command(command, capsys):
    assert main([command, '--help']) == 0
    assert f'detrove {command}' in capsys.readouterr().out


def test_unknown_command(capsys):
    assert main(['trian']) == 2
    assert 'trian' in capsys.readouterr().err


def test_help_is_quick(run_python):
    code = """
        import sys
        from detrove.cli import main
        assert main(['train', '--help']) == 0
        print('torch' in sys.modules, 'mmdet' in sys.modules)
    """
    assert run_python(code).stdout.splitlines()[-1] == 'False False'


def test_cfg_options_without_a_value(capsys):
    assert main(['train', 'x.py', '--cfg-options', 'model.depth']) == 2
    assert "'model.depth' is not of the form key=value" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys):
    assert main(['train', 'no_such_config.py']) == 1
    assert 'Traceback' not in capsys.readouterr().err
    assert main(['train', 'no_such_config.py', '--debug']) == 1
    assert 'Traceback' in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(capsys):
    def command():
        return [][0]

    assert run_reporting_errors(command) == 1
    assert 'IndexError' in capsys.readouterr().err


def test_a_file_that_does_not_open_is_named(tmp_path, capsys):
    assert run_reporting_errors((tmp_path / 'gone').read_text) == 1
    assert capsys.readouterr().err == f'error: {tmp_path}/gone: No such file or directory\n'


def test_interrupted(capsys):
    def command():
        raise KeyboardInterrupt

    assert run_reporting_errors(command) == 130


def test_only_errors_raised_on_purpose_are_about_the_input():
    from detrove.engine.signatures import accepted_arguments, find_registered

    with pytest.raises(TypeError) as unhashable:
        accepted_arguments([])
    assert not is_about_the_input(unhashable.value)
    with pytest.raises(ModuleNotFoundError) as missing:
        find_registered('x', ('MODELS',), 'no_such_package')
    assert not is_about_the_input(missing.value)
