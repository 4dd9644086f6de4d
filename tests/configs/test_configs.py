"""Every OneDETR config builds its model, passes training's checks, and says what the official one says."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images
from detrove.engine.optim import RegexOptimWrapperConstructor

ROOT = Path(__file__).resolve().parents[2]

# parameters, and (rate, decay) -> (tensors, values) of the official optimiser groups, both printed by the official code
OFFICIAL = {
    'rtdetr_r18vd_8xb2-72e_coco': (20_184_464, {
        (1e-5, 0): (46, 9_856), (1e-5, 1e-4): (23, 11_190_112), (1e-4, 0): (159, 35_504),
        (1e-4, 1e-4): (98, 8_948_992)}),
    'rtdetr_r34vd_8xb2-72e_coco': (31_441_668, {
        (1e-5, 0): (78, 17_280), (1e-5, 1e-4): (39, 21_290_848), (1e-4, 0): (177, 40_740),
        (1e-4, 1e-4): (110, 10_092_800)}),
    'rtdetr_r50vd-m_8xb2-72e_coco': (36_593_772, {
        (1e-5, 1e-4): (52, 23_445_504), (1e-4, 0): (213, 51_212), (1e-4, 1e-4): (134, 13_068_544)}),
    'rtdetr_r50vd_8xb2-72e_coco': (42_891_372, {
        (1e-5, 1e-4): (52, 23_445_504), (1e-4, 0): (205, 57_356), (1e-4, 1e-4): (130, 19_360_000)}),
    'rtdetr_r101vd_8xb2-72e_coco': (76_556_268, {
        (1e-6, 1e-4): (103, 42_385_408), (1e-4, 1e-4): (335, 34_142_348)}),
    'rtdetrv2_r18vd_8xb2-120e_coco': (20_184_464, {(1e-4, 0): (162, 31_360), (1e-4, 1e-4): (164, 20_153_104)}),
    'rtdetrv2_r50vd_8xb2-72e_coco': (42_891_372, {
        (1e-5, 1e-4): (52, 23_445_504), (1e-4, 0): (126, 32_256), (1e-4, 1e-4): (209, 19_385_100)}),
}


def test_model_builds_and_predicts(detr_config):
    """One image of 64 x 96 through the real model, hooks and data preprocessor built as well."""
    from mmdet.registry import HOOKS, TRANSFORMS
    config = detr_config
    before = copy.deepcopy(config.to_dict())
    model = build_model(config).eval()
    with torch.no_grad():
        logits, boxes = model._forward(deterministic_images(1, 64, 96))
    assert torch.isfinite(logits).all() and torch.isfinite(boxes).all()
    for hook in config.get('custom_hooks', []):
        HOOKS.build({key: value for key, value in hook.items() if key != 'priority'})
    for transform in config.train_dataloader.dataset.pipeline:
        TRANSFORMS.build(transform)
    after = config.to_dict()
    assert {key: after[key] for key in before} == before, 'building changed the config'


@pytest.mark.parametrize('name', OFFICIAL)
def test_same_parameters_and_optimiser_groups_as_official(name):
    config = Config.fromfile(ROOT / 'configs/rt_detr' / f'{name}.py')
    model = build_model(config)
    parameters, expected = OFFICIAL[name]
    assert sum(p.numel() for p in model.parameters()) == parameters
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay, tuple(optimizer.betas)) == (1e-4, 1e-4, (0.9, 0.999))
    constructor = RegexOptimWrapperConstructor(config.optim_wrapper, config.optim_wrapper.paramwise_cfg)
    groups = {}
    for group in constructor.parameter_groups(model):
        key = round(group.get('lr', 1e-4), 9), round(group.get('weight_decay', 1e-4), 9)
        tensors, values = groups.get(key, (0, 0))
        groups[key] = tensors + len(group['params']), values + sum(p.numel() for p in group['params'])
    assert groups == expected


def test_example_of_the_documents(tmp_path):
    """The config that docs/custom_dataset.md tells users to write."""
    text = (ROOT / 'docs/custom_dataset.md').read_text()
    example = text.split('<!-- example config -->')[1].split('```python\n')[1].split('```')[0]
    path = tmp_path / 'my_configs/example.py'
    path.parent.mkdir()
    path.write_text(example.replace("'../configs/", f"'{ROOT}/configs/"))
    config = Config.fromfile(path)
    assert [step.scale for step in config.train_pipeline if step.type == 'SmoothResize'] == [(320, 320)]
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline
    model = build_model(config)
    assert model.num_classes == len(config.train_dataloader.dataset.metainfo.classes) == 3
    RegexOptimWrapperConstructor(config.optim_wrapper, config.optim_wrapper.paramwise_cfg).parameter_groups(model)
