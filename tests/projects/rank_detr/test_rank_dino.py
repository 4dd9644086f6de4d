"""Ranks on DINO: denoising queries decode beside queries that change places."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from detrove.apis import build_model


@pytest.fixture(scope='module')
def model(pytestconfig):
    torch.manual_seed(0)
    config = pytestconfig.rootpath / 'configs/rank_detr/rank-dino_r50_8xb2-12e_coco.py'
    return build_model(config, {
        'model.backbone.depth': 18, 'model.backbone.init_cfg': None, 'model.neck.in_channels': [128, 256, 512],
        'model.encoder.num_layers': 1, 'model.decoder.num_layers': 3, 'model.query_selection.num_queries': 40,
        'model.decoder.ranking.num_queries': 40, 'model.bbox_head.num_queries': 40, 'model.denoising.num_queries': 8})


def make_samples(counts):
    samples = []
    for count in counts:
        sample = DetDataSample(metainfo=dict(img_shape=(96, 128), scale_factor=(1.0, 1.0)))
        corner = torch.rand(count, 2) * 40
        sample.gt_instances = InstanceData(bboxes=torch.cat([corner, corner + 30], 1),
                                           labels=torch.randint(0, 80, (count,)))
        samples.append(sample)
    return samples


@pytest.mark.parametrize('counts', [(3, 1), (2, 0), (0, 0)])
def test_trains(model, counts):
    torch.manual_seed(1)
    model.train().zero_grad()
    losses = model.loss(torch.rand(2, 3, 96, 128), make_samples(counts))
    assert {'loss_cls', 'd0.loss_giou', 'dn.d1.loss_cls', 'enc.loss_cls'} <= set(losses)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()]


def test_denoising_queries_keep_their_objects(model):
    """Only the order of the main branch changes the losses of denoising: sorting it otherwise leaves them equal.

    The main branch is a set to denoising queries, which see it: without rank embeddings its order does not matter.
    """
    model.train()
    ranking, images = model.decoder.ranking, torch.rand(2, 3, 96, 128)
    samples = make_samples((3, 1))
    embeddings = [table.weight.detach().clone() for table in ranking.embeddings]
    try:
        for table in ranking.embeddings:
            torch.nn.init.zeros_(table.weight)
        with torch.no_grad():
            torch.manual_seed(2)
            ranked = model.loss(images, samples)
            torch.manual_seed(2)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(type(ranking), 'order', lambda self, layer, query, head, branches: torch.arange(
                    query.shape[1]).expand(query.shape[:2]))
                unranked = model.loss(images, samples)
    finally:
        for table, values in zip(ranking.embeddings, embeddings, strict=True):
            table.weight.data.copy_(values)
    for name in ranked:
        torch.testing.assert_close(ranked[name], unranked[name], rtol=1e-4, atol=1e-5)


def test_inference_does_not_depend_on_denoising(model):
    model.eval()
    images = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        logits, boxes = model._forward(images)
        denoising, model.denoising = model.denoising, None
        without = model._forward(images)
        model.denoising = denoising
    torch.testing.assert_close((logits, boxes), without)
