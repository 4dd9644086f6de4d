"""Growth: values reach the workload or the config, and the results a table, a drawing and a file."""

import json
from pathlib import Path

import pytest

from detrove.benchmark import Workload
from detrove.benchmark.growth import grown, parse_growth
from detrove.cli import main

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NANO = str(CONFIGS / 'rt_detr/rtdetr_nano_shapes.py')


def test_values():
    assert parse_growth('queries=100,300') == ('queries', [100, 300])
    for wrong in ('queries', 'queries=100', 'queries=a,b', 'queries=1,,2'):
        with pytest.raises(ValueError, match='must be KEY=NUMBER,NUMBER'):
            parse_growth(wrong)


def test_what_grows():
    workload, words = Workload(), [NANO, 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py']
    assert grown('size', 320, words, workload, {})[0].size_hw == (320, 320)
    assert grown('objects', 3, words, workload, {})[0].objects == 3
    changed, options = grown('queries', 50, words, workload, {'model.test_cfg': None})
    assert changed == workload
    assert options == [{'model.test_cfg': None, 'model.query_selection.num_queries': 50},
                       {'model.test_cfg': None, 'model.num_queries': 50}]
    assert grown('model.decoder.num_layers', 2, [NANO], workload, {})[1] == [{'model.decoder.num_layers': 2}]
    groups = 'g=' + str(CONFIGS / 'group_detr/group-rtdetr_nano_shapes.py')
    assert grown('groups', 5, [groups], workload, {})[1] == [{'model.groups.num_groups': 5}]
    assert grown('groups', 1, [groups], workload, {})[1] == [{'model.groups': None}]
    with pytest.raises(ValueError, match=r'has none of model\.groups\.num_groups'):
        grown('groups', 5, [NANO], workload, {})
    with pytest.raises(ValueError, match='needs configs, timm:resnet18 is none'):
        grown('queries', 5, ['timm:resnet18'], workload, {})


def test_command(tmp_path, capsys):
    out, plot = tmp_path / 'growth.json', tmp_path / 'growth.png'
    arguments = ['benchmark', NANO, '--grow', 'queries=20,40', '--only', 'predict', '--size', '64', '64', '--rounds',
                 '1', '--warmup', '1', '--device', 'cpu', '--json', str(out), '--plot', str(plot)]
    assert main(arguments) == 0
    rows = [line.split(' | ')[0] for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    assert rows == ['| queries', '| ---', '| 20', '| 40']
    content = json.loads(out.read_text())
    assert content['grow'] == 'queries' and [point['value'] for point in content['points']] == [20, 40]
    assert content['points'][0]['results'][0]['flops'] < content['points'][1]['results'][0]['flops']
    assert plot.read_bytes().startswith(b'\x89PNG')
