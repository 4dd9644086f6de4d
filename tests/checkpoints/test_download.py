"""What is downloaded, and what is not; and files that are no checkpoints."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from detrove.checkpoints import load_weights, read_checkpoint
from detrove.checkpoints.download import fetch, split_hash


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A checkpoint at an address, its SHA-256, and the list of downloads."""
    file, downloads = tmp_path / 'served.pth', []
    torch.save(dict(state_dict=dict(a=torch.ones(1))), file)

    def download(address, target, **_):
        downloads.append(address)
        Path(target).write_bytes(file.read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.delenv('DETROVE_OFFLINE', raising=False)
    monkeypatch.delenv('DETROVE_DOWNLOAD', raising=False)
    return hashlib.sha256(file.read_bytes()).hexdigest(), downloads


def test_hash_of_the_name_or_the_address():
    assert split_hash('https://a.org/resnet50-11ad3fa6.pth') == ('https://a.org/resnet50-11ad3fa6.pth', '11ad3fa6')
    assert split_hash('https://a.org/swin_tiny_224.pth')[1] == ''
    assert split_hash(f'https://a.org/x.pth#sha256={"0" * 64}') == ('https://a.org/x.pth', '0' * 64)
    with pytest.raises(ValueError, match='SHA-256'):
        split_hash('https://a.org/x.pth#sha256=12')


def test_with_the_right_hash(served, tmp_path):
    sha256, downloads = served
    for address in (f'https://a.org/x-{sha256[:8]}.pth', f'https://a.org/y.pth#sha256={sha256}'):
        for _ in range(2):
            assert read_checkpoint(address)['state_dict']['a'] == 1
            assert CheckpointLoader.load_checkpoint(address)['state_dict']['a'] == 1
    assert len(downloads) == 2 and sorted(os.listdir(tmp_path / 'hub/checkpoints')) == [f'x-{sha256[:8]}.pth', 'y.pth']


def test_with_another_hash_nothing_stays(served, tmp_path):
    with pytest.raises(ValueError, match='should begin with 00000000'):
        fetch('https://a.org/x-00000000.pth')
    assert not os.listdir(tmp_path / 'hub/checkpoints')


def test_without_a_hash_only_on_request(served, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r'put it there: .*hub/checkpoints/x\.pth.*DETROVE_DOWNLOAD'):
        fetch('https://a.org/x.pth')
    monkeypatch.setenv('DETROVE_DOWNLOAD', '1')
    assert Path(fetch('https://a.org/x.pth')).is_file()


def test_offline_names_the_file_and_its_place(served, monkeypatch):
    monkeypatch.setenv('DETROVE_OFFLINE', '1')
    with pytest.raises(FileNotFoundError, match=r'x-11ad3fa6\.pth is not there.*https://a\.org.*hub/checkpoints'):
        fetch('https://a.org/x-11ad3fa6.pth')
    assert not served[1]


class Program:
    def __reduce__(self):
        return os.mkdir, ('MARK',)


@pytest.mark.parametrize('reader', [read_checkpoint, CheckpointLoader.load_checkpoint])
def test_no_program_is_run(tmp_path, monkeypatch, reader):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict={}, meta=Program()), 'a.pth')
    Path('b.pkl').write_bytes(pickle.dumps(Program()))
    for file in ('a.pth', 'b.pkl'):
        with pytest.raises(ValueError, match=file):
            reader(file)
    assert not Path('MARK').exists()


@pytest.mark.parametrize('content, message', [
    (dict(state_dict={3: torch.ones(1)}), 'named by text'),
    (dict(weight=torch.full((1, 2), float('nan')), bias=torch.ones(1)), 'NaN in 1 entries, for example weight'),
    (dict(weight='text', bias=torch.ones(1)), 'does not fit Linear'),
])
def test_entries_that_are_none(tmp_path, content, message):
    file = str(tmp_path / 'a.pth')
    torch.save(content, file)
    with pytest.raises(ValueError, match=message):
        load_weights(nn.Linear(2, 1), read_checkpoint(file)['state_dict'], source=file)


