"""The doctor's report, its remedies and its exit status."""

import json
from importlib import import_module

import pytest

from detrove import doctor
from detrove.compat.versions import DISTRIBUTIONS


def test_a_working_environment_is_reported_as_json(capsys):
    status = doctor.main(['--json'])
    report = json.loads(capsys.readouterr().out)
    assert status == 0, report['findings']
    assert report['ok']
    assert report['versions']['torch']
    assert report['ops']
    assert report['devices'][0].startswith('cpu')


def test_tables_name_every_package_and_the_verdict(capsys, monkeypatch):
    def examine():
        report = doctor.Report(versions={'torch': '2.6.0', 'natten': None}, ops={'nms': 'torchvision'})
        report.error('no distribution that provides `import mmdet`', 'pip install onedl-mmdetection')
        return report

    monkeypatch.setattr(doctor, 'examine', examine)
    assert doctor.main([]) == 1
    out = ' '.join(capsys.readouterr().out.split())
    for word in (
        'torch',
        '2.6.0',
        'natten',
        'not installed',
        'nms',
        'torchvision',
        'Training would not work here',
    ):
        assert word in out


def test_missing_mm_packages_and_evaluators_come_with_a_remedy(monkeypatch):
    monkeypatch.setattr(doctor, 'installed', list)
    monkeypatch.setattr(doctor, '_version', lambda name: None)
    monkeypatch.setattr(doctor, '_examine_torch', lambda report: False)
    report = doctor.examine()
    assert not report.ok()
    remedies = ' '.join(finding.remedy for finding in report.findings)
    for distributions in DISTRIBUTIONS.values():
        assert distributions[0] in remedies
    assert 'faster-coco-eval' in remedies


@pytest.mark.parametrize(
    ('module', 'error', 'remedy'),
    [
        ('torchvision', RuntimeError('operator torchvision::nms does not exist'), 'reinstall both'),
        (
            'mmdet.models',
            ModuleNotFoundError("No module named 'shapely'", name='shapely'),
            'pip install shapely',
        ),
        ('mmseg.models', TypeError('NoneType takes no arguments'), 'onedl-mmsegmentation'),
    ],
)
def test_a_failing_import_is_an_error_with_its_remedy(monkeypatch, module, error, remedy):
    def failing(name):
        if name == module:
            raise error
        return import_module(name)

    monkeypatch.setattr(doctor, 'import_module', failing)
    report = doctor.examine()
    (finding,) = [finding for finding in report.findings if finding.level == 'error']
    assert f'`import {module}` fails: {type(error).__name__}' in finding.what
    assert remedy in finding.remedy
