"""`detrove list-models`, and that the metafiles name every config."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from detrove.cli import main
from detrove.cli.list_models import MEASURED_HERE, PAPER, Model, metafiles, read_models, select, sort_models

ROOT = Path(__file__).resolve().parents[2]
MODELS = read_models(ROOT)
# what compares configs or shows how to combine them, and the models of the sample data that belong to no paper
WITHOUT_METAFILE = ('_base_', 'ablations', 'combinations')


def model(name, *results, task='detection', parameters=None):
    entries = tuple(dict(Dataset=on, Source=source, Metrics={metric: value}) for on, source, metric, value in results)
    return Model(name=name, config=f'configs/{name}.py', paper='P', task=task, backbone='ResNet-50',
                 parameters=parameters, epochs=None, results=entries)


def names(models):
    return [entry.name for entry in models]


def test_every_config_is_in_one_metafile():
    configs = [file.relative_to(ROOT) for file in ROOT.glob('configs/**/*.py')]
    wanted = {file.as_posix() for file in configs
              if not set(file.parts) & set(WITHOUT_METAFILE) and not file.stem.endswith('_shapes')}
    listed = [entry.config for entry in MODELS]
    assert sorted(wanted - set(listed)) == []
    assert [name for name in listed if not (ROOT / name).is_file()] == []
    assert sorted(set(listed)) == sorted(listed)


@pytest.mark.parametrize('file', metafiles(ROOT), ids=lambda file: file.parent.name)
def test_collection_names_its_readme(file):
    import yaml

    content = yaml.safe_load(file.read_text(encoding='utf-8'))
    collections = {entry['Name']: entry for entry in content['Collections']}
    assert {entry['In Collection'] for entry in content['Models']} <= set(collections)
    assert all((ROOT / entry['README']).is_file() for entry in collections.values())


@pytest.mark.parametrize(('config', 'task', 'backbone', 'kind'), [
    ('configs/dino/dino-4scale_r50_8xb2-12e_coco.py', 'detection', 'ResNet-50', 'ResNet'),
    ('configs/swin/rtdetr_swin-tiny_8xb2-72e_coco.py', 'detection', 'Swin-T', 'Swin'),
    ('configs/rt_detr/rtdetr_nano_shapes.py', 'detection', 'ResNet-18-vd (narrow)', 'ResNetVD'),
])
def test_task_and_backbone_are_those_of_the_config(config, task, backbone, kind):
    entry = next(entry for entry in MODELS if entry.config == config)
    assert (entry.task, entry.backbone) == (task, backbone)
    assert Config.fromfile(str(ROOT / config), import_custom_modules=False).model.backbone.type == kind


def test_search_ignores_case_and_hyphens():
    assert {entry.paper for entry in select(MODELS, paper='rtdetr')} == {'RT-DETR', 'RT-DETRv2'}
    found = select(MODELS, task='Semantic', backbone='swin-t')
    assert found and {(entry.task, entry.backbone) for entry in found} <= {
        ('semantic segmentation', 'Swin-T'), ('semantic segmentation', 'CSWin-T')}
    with pytest.raises(ValueError, match=r"no model with --backbone 'resnet-51'; there are: .*ResNet-50"):
        select(MODELS, backbone='resnet-51')


def test_paper_and_measured_are_kept_apart():
    both = model('both', ('COCO val2017', 'paper', 'box AP', 49.0), ('COCO val2017', 'measured here', 'box AP', 48.8))
    other = model('other', ('COCO val2017', 'MMDetection', 'box AP', 49.0))
    elsewhere = model(
        'elsewhere', ('COCO val2017', 'paper', 'box AP', 49.0), ('shapes val', 'measured here', 'box AP', 51.0))
    assert (both.headline(PAPER), both.headline(MEASURED_HERE)) == (49.0, 48.8)
    assert (other.headline(PAPER), other.headline(MEASURED_HERE)) == (None, None)
    assert (elsewhere.headline(PAPER), elsewhere.headline(MEASURED_HERE)) == (49.0, None)


def test_sorting_by_ap_keeps_data_sets_apart():
    models = [
        model('none'),
        model('shapes', ('shapes val', 'measured here', 'box AP', 99.0)),
        model('low', ('COCO val2017', 'paper', 'box AP', 40.0)),
        model('measured', ('COCO val2017', 'paper', 'box AP', 60.0), ('COCO val2017', 'measured here', 'box AP', 39.0)),
        model('high', ('COCO val2017', 'paper', 'box AP', 50.0)),
    ]
    assert names(sort_models(models, 'ap')) == ['high', 'low', 'measured', 'shapes', 'none']
    assert names(sort_models(models, None)) == names(models)


def test_sorting_by_parameters():
    models = [model('unknown'), model('large', parameters=9), model('small', parameters=1)]
    assert names(sort_models(models, 'parameters')) == ['small', 'large', 'unknown']


def test_command_prints_a_table(capsys):
    assert main(['list-models', '--paper', 'dino', '--sort', 'ap']) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[-3:] == ['paper', 'measured', 'here']
    row = next(line for line in shown if 'dino-4scale_r50_8xb2-36e_coco.py' in line)
    assert row.split()[-1] == '50.9'  # the paper's column; that of measurements is empty
    assert shown[-1] == f'{len(select(MODELS, paper="dino"))} models'


def test_command_prints_json(capsys):
    assert main(['list-models', '--task', 'panoptic', '--json']) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries and all(entry['task'] == 'panoptic segmentation' for entry in entries)


def test_unknown_word_is_an_error_of_one_line(capsys):
    assert main(['list-models', '--backbone', 'nonsense']) == 1
    assert capsys.readouterr().err.startswith("error: no model with --backbone 'nonsense'")


def test_metafile_that_lacks_a_field(tmp_path):
    file = tmp_path / 'projects' / 'paper' / 'metafile.yml'
    file.parent.mkdir(parents=True)
    file.write_text('Models:\n  - {Name: a, Config: configs/a.py, In Collection: Paper, Task: detection}\n')
    with pytest.raises(ValueError, match="projects/paper/metafile.yml: the model 'a' has no Backbone"):
        read_models(tmp_path)
    file.write_text('Models:\n  - {Name: a, Config: a.py, In Collection: P, Task: guessing, Backbone: R}\n')
    with pytest.raises(ValueError, match="the task of a is 'guessing'"):
        read_models(tmp_path)
