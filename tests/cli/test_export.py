"""`detrove export`: usage, and a segmentor from end to end."""

import pytest
import torch

from detrove.cli import main


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_segmentor(segmentation_config, coco_folder, tmp_path, capsys):
    from detrove.apis import build_model

    config = segmentation_config()
    torch.save(dict(state_dict=build_model(config).state_dict()), 'weights.pth')
    words = ['export', str(config), 'weights.pth', '--format', 'torchscript', '--images', str(coco_folder / 'images')]
    assert main(words) == 0
    path = tmp_path / 'work_dirs' / config.stem / f'{config.stem}.torchscript'
    assert '1x64x64x3: 100.000% of pixels have the same label' in capsys.readouterr().out
    labels, = torch.jit.load(str(path))(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert labels.shape == (1, 64, 64)
    assert main(words) == 1
    assert 'exists already; --overwrite replaces it' in capsys.readouterr().err


@pytest.mark.parametrize('words, message', [
    (['--format', 'xml'], 'invalid choice'),
    (['--batch', '0'], 'not a whole number of at least 1'),
    (['--format', 'torchscript', '--dynamic', 'size'], 'torchscript is traced'),
    (['--format', 'torchexport'], 'RetinaNet cannot be exported whole: its bbox_head (RetinaHead)'),
])
def test_wrong_usage(detection_config, capsys, words, message):
    from detrove.apis import build_model

    config = detection_config()
    torch.save(dict(state_dict=build_model(config).state_dict()), 'weights.pth')
    assert main(['export', str(config), 'weights.pth', *words]) in (1, 2)
    assert message in capsys.readouterr().err
