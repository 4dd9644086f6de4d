"""Shared by the tests of NAT and DiNAT."""

import pytest


@pytest.fixture(autouse=True)
def quick_external_bases(monkeypatch):
    """mmengine reads all metafiles of mmdet for each `mmdet::_base_/...`, to find that none of them lists it."""

    def find(package_path, cfg_file):
        raise ValueError(f'{cfg_file} has no metafile')

    monkeypatch.setattr('mmengine.config.config._get_external_cfg_path', find)
