"""The one-to-many branch is for training alone."""

import pytest
import torch

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images
from detrove.layers import BatchTargets

SMALL = {'model.encoder.num_layers': 1, 'model.decoder.num_layers': 2, 'model.query_selection.num_queries': 20,
         'model.one_to_many.num_queries': 60}


@pytest.fixture(scope='module')
def model(request):
    return build_model(request.config.rootpath / 'configs/h_detr/h-detr_r50_8xb2-12e_coco.py', SMALL)


def test_detections_do_not_depend_on_the_branch(model):
    images = deterministic_images(1, 96, 128)
    model.eval()
    with torch.no_grad():
        with_branch = model._forward(images)
        branch, model.one_to_many = model.one_to_many, None
        without = model._forward(images)
    model.one_to_many = branch
    assert all(torch.equal(a, b) for a, b in zip(with_branch, without, strict=True))


def test_main_losses_do_not_depend_on_the_branch(model):
    """The two sets do not see each other; every trained parameter learns."""
    images = deterministic_images(2, 96, 128)
    targets = BatchTargets(torch.tensor([[3, 5], [0, 0]]), torch.full((2, 2, 4), 0.4),
                           torch.tensor([[True, True], [False, False]]), (2, 0))
    model.train().zero_grad()
    both = model.compute_losses(model.decode(images, targets), targets)
    sum(both.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    branch, model.one_to_many = model.one_to_many, None
    alone = model.compute_losses(model.decode(images, targets), targets)
    model.one_to_many = branch
    assert {name for name in both if name not in alone} == {
        f'o2m.{layer}loss_{kind}' for layer in ('', 'd0.') for kind in ('cls', 'bbox', 'giou')}
    for name, value in alone.items():
        torch.testing.assert_close(both[name], value, rtol=1e-5, atol=1e-5)
