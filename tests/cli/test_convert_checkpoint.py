"""`detrove convert-checkpoint`: what it refuses. The conversion itself is tested in tests/checkpoints."""

from detrove.cli import main


def test_existing_file_is_kept_unless_forced(tmp_path, capsys, monkeypatch):
    src, dst, config = tmp_path / 'src.pth', tmp_path / 'dst.pth', tmp_path / 'config.py'
    src.write_text('official')
    dst.write_text('mine')
    config.write_text('')
    arguments = ['convert-checkpoint', str(src), str(dst), '--config', str(config)]
    assert main(arguments) == 1
    assert 'pass --force' in capsys.readouterr().err
    assert dst.read_text() == 'mine'

    def fail(src, dst, config, *, allow_unsafe):
        dst.write_text('half')
        raise ValueError('no')

    monkeypatch.setattr('detrove.checkpoints.convert_file', fail)
    assert main([*arguments, '--force']) == 1
    assert dst.read_text() == 'mine'

    def succeed(src, dst, config, *, allow_unsafe):
        dst.write_text('converted')
        return 'a layout'

    monkeypatch.setattr('detrove.checkpoints.convert_file', succeed)
    assert main([*arguments, '--force']) == 0
    assert dst.read_text() == 'converted'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['config.py', 'dst.pth', 'src.pth']


def test_missing_source(tmp_path, capsys):
    assert main(['convert-checkpoint', str(tmp_path / 'no.pth'), 'x.pth', '--config', 'y.py']) == 1
    assert 'checkpoint not found' in capsys.readouterr().err
