"""What the config files say, against the official ones and their own names."""

import pytest
from mmengine.config import Config

from detrove.apis import build_model
from detrove.engine.optim import RegexOptimWrapperConstructor

FOLDER = 'configs/rank_detr'
# parts that each ablation keeps: rank-adaptive head, query rank layer, GIoU-aware loss, high-order matching cost
ABLATIONS = {
    'none': '', 'only-head': 'h', 'only-rank-layer': 'r', 'only-giou-loss': 'g', 'only-high-order': 'm',
    'only-architecture': 'hr', 'only-losses': 'gm', 'no-head': 'rgm', 'no-rank-layer': 'hgm', 'no-giou-loss': 'hrm',
    'no-high-order': 'hrg', 'iou2': 'hrgm', 'iou3': 'hrgm', 'iou5': 'hrgm'}


def read(root, name):
    return Config.fromfile(root / FOLDER / f'{name}_coco.py')


def test_same_parameters_and_optimiser_groups_as_official(pytestconfig):
    """Printed by the official code: rate, tensors and values of each group, and no exception from weight decay."""
    config = read(pytestconfig.rootpath, 'rank-detr_r50_8xb2-12e')
    model = build_model(config, {'model.backbone.init_cfg': None})
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 52_070_476
    constructor = RegexOptimWrapperConstructor(config.optim_wrapper, config.optim_wrapper.paramwise_cfg)
    groups = constructor.parameter_groups(model)
    found = sorted((round(group.get('lr', 2e-4), 9), len(group['params']), sum(p.numel() for p in group['params']))
                   for group in groups)
    # there 317: our content queries are two tables, one for each branch
    assert found == [(2e-5, 24, 789_504), (2e-5, 52, 23_445_504), (2e-4, 318, 27_835_468)]
    assert (config.optim_wrapper.optimizer.lr, config.optim_wrapper.optimizer.weight_decay) == (2e-4, 1e-4)
    assert not any('weight_decay' in group for group in groups)
    assert config.optim_wrapper.clip_grad == dict(max_norm=0.1, norm_type=2)


@pytest.mark.parametrize('name, epochs, drop_path', [
    ('rank-detr_r50_8xb2-12e', 12, None), ('rank-detr_r50_8xb2-36e', 36, None),
    ('rank-detr_swin-t_8xb2-12e', 12, 0.2), ('rank-detr_swin-t_8xb2-36e', 36, 0.2),
    ('rank-detr_swin-l_8xb2-12e', 12, 0.2), ('rank-detr_swin-l_8xb2-36e', 36, 0.5)])
def test_official_settings(pytestconfig, name, epochs, drop_path):
    config = read(pytestconfig.rootpath, name)
    model = config.model
    assert config.train_cfg.max_epochs == epochs
    step, = config.param_scheduler
    assert step.milestones == [pytest.approx({12: 11, 36: 30}[epochs] / epochs)] and step.gamma == 0.1
    assert model.backbone.get('drop_path_rate') == drop_path
    assert (model.matcher.type, model.matcher.iou_power, model.matcher.switch_at) == ('HighOrderMatcher', 4.0, 0.75)
    assert (model.matcher.cost_class, model.matcher.cost_bbox, model.matcher.cost_giou) == (2.0, 5.0, 2.0)
    for criterion, loss in ((model.criterion, 'QueryGIoUAwareFocalLoss'), (model.encoder_criterion, 'QueryFocalLoss')):
        assert (criterion.loss_class.type, criterion.loss_class.alpha, criterion.loss_class.gamma) == (loss, 0.25, 2.0)
        assert (criterion.weight_class, criterion.weight_bbox, criterion.weight_giou) == (2.0, 5.0, 2.0)
    ranks = (model.query_selection.num_queries, model.one_to_many.num_queries)
    assert ranks == (300, 1500) and model.one_to_many.targets_per_object == 6
    for part in (model.decoder.ranking, model.bbox_head):
        assert (part.num_queries, part.num_one_to_many) == ranks
    assert model.decoder.eps == 1e-3 and model.encoder.offset == -0.5 and model.test_cfg.max_per_img == 300
    assert model.get('denoising') is None


def test_there_are_no_other_ablations(pytestconfig):
    files = (pytestconfig.rootpath / FOLDER / 'ablations').glob('*.py')
    assert {path.name for path in files} == {f'rank-detr-{name}_r50_8xb2-12e_coco.py' for name in ABLATIONS}


@pytest.mark.parametrize('name', ABLATIONS)
def test_ablations_are_what_their_names_say(pytestconfig, name):
    config = read(pytestconfig.rootpath, f'ablations/rank-detr-{name}_r50_8xb2-12e')
    model = config.model
    ranking = model.decoder.ranking
    parts = dict(
        h=model.bbox_head.type == 'RankAdaptiveHead',
        r=ranking is not None and ranking.rank_layer,
        g=model.criterion.loss_class.type == 'QueryGIoUAwareFocalLoss',
        m=model.matcher.switch_at is not None)
    assert ''.join(part for part, kept in parts.items() if kept) == ABLATIONS[name]
    assert ranking is not None or not parts['h'], 'the head needs queries in the order of ranks'
    assert model.matcher.iou_power == (float(name[3:]) if name.startswith('iou') else 4.0)
