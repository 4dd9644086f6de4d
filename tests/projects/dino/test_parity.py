"""DINO against recorded outputs of the official code (tests/data/dino/README.md says how they were made).

Weights have the official names and layout and go through the converter; everything is in double precision, where the
order of near-ties does not depend on rounding.
"""

import functools
import gzip
import json
import re

import numpy as np
import pytest
import torch

from detrove.apis import build_model
from detrove.checkpoints import rename_keys
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.layers import BatchTargets, QueryBranch
from detrove.ops.boxes import box_cxcywh_to_xyxy
from detrove.projects.dino.checkpoint import KEY_MAP

NAME = 'dino-4scale_r50'
NUM_CLASSES = 91  # the official code counts by COCO's category ids


class Case:
    """A model with the official weights, and the official outputs."""

    def __init__(self, root):
        data = root / 'tests/data/dino'
        self.reference = np.load(data / f'reference_{NAME}.npz')
        shapes = json.loads(gzip.decompress((data / f'keys_{NAME}.json.gz').read_bytes()))
        official = deterministic_state_dict(shapes)
        for name, owner in zip(self.reference['tied_names'], self.reference['tied_owners'], strict=True):
            official[str(name)] = official[str(owner)]
        self.model = build_model(root / f'configs/dino/{NAME}_8xb2-12e_coco.py', {
            'model.bbox_head.num_classes': NUM_CLASSES, 'model.backbone.init_cfg': None})
        self.model.load_state_dict({'model': official})
        self.model.double()

    def __getitem__(self, key):
        return torch.from_numpy(np.asarray(self.reference[key]))

    def inputs(self, part):
        """The padded batch, and the size of each image in it."""
        height, width = self[f'{part}/size_hw'].tolist()
        images = deterministic_images(2, height, width, seed=int(self[f'{part}/seed'])).double()
        sizes_hw = [tuple(size) for size in self[f'{part}/valid_hw'].tolist()]
        for image, (valid_height, valid_width) in zip(images, sizes_hw, strict=False):
            image[:, valid_height:] = 0
            image[:, :, valid_width:] = 0
        return images[:len(sizes_hw)], sizes_hw

    def targets(self, part):
        labels = [self[f'{part}/labels{i}'].long() for i in range(2)]
        boxes = [self[f'{part}/boxes{i}_cxcywh'] for i in range(2)]
        pad = torch.nn.utils.rnn.pad_sequence
        counts = tuple(len(x) for x in labels)
        valid = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
        return BatchTargets(pad(labels, True), pad(boxes, True), valid, counts)

    def gradient_norms(self, part):
        """Our parameter name -> norm of the gradient in the official code."""
        names = self.reference[f'{part}/grad_norm_names']
        norms = dict(zip(map(str, names), self.reference[f'{part}/grad_norm_values'].tolist(), strict=True))
        # the official code lists its heads under their second name, and levels without telling the further ones apart
        rename_keys(norms, ((r'transformer\.decoder\.(class|bbox)_embed', r'\1_embed'),
                            (r'input_proj\.3\.', 'input_proj.extra0.')))
        rename_keys(norms, KEY_MAP)
        return norms


def our_loss_name(official):
    """'loss_ce_dn_1' -> 'dn.d1.loss_cls' and so on."""
    kind, denoising, layer, encoder = re.fullmatch(r'loss_(\w+?)(_dn)?(?:_(\d))?(_interm)?', official).groups()
    prefix = 'dn.' * bool(denoising) + 'enc.' * bool(encoder) + (f'd{layer}.' if layer else '')
    return f'{prefix}loss_{kind.replace("ce", "cls")}'


@functools.cache
def load_case(root):
    return Case(root)


@pytest.fixture
def case(request):
    return load_case(request.config.rootpath)


def assert_close(actual, expected, tolerance):
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('part', ['eval_padded', 'eval_single'])
def test_detections(case, part):
    """Top 300 of two images of different sizes in a batch, and of one: the same order, equal to 1e-6."""
    images, sizes_hw = case.inputs(part)
    with torch.no_grad():
        outputs = case.model.eval().decode(images, image_sizes_hw=sizes_hw)
    assert torch.equal(outputs.encoder.token_index, case[f'{part}/selected_tokens'].long())
    assert_close(outputs.encoder.boxes_cxcywh[:, ::30], case[f'{part}/encoder_boxes_cxcywh'], 1e-6)
    assert_close(outputs.decoder.boxes_cxcywh[-1], case[f'{part}/pred_boxes_cxcywh'], 1e-6)
    scores, labels, boxes_cxcywh = case.model.select_detections(outputs.decoder)
    assert torch.equal(labels, case[f'{part}/labels'].long())
    assert_close(scores, case[f'{part}/scores'], 1e-6)
    scale = case[f'{part}/original_hw'].flip(1).repeat(1, 2)[:, None]
    assert_close(box_cxcywh_to_xyxy(boxes_cxcywh) * scale, case[f'{part}/boxes_xyxy'], 1e-5)


@pytest.mark.parametrize('part', [
    pytest.param('train_two_images', marks=pytest.mark.slow),
    'train_one_empty',
    'train_two_images_denoising',
    pytest.param('train_one_empty_denoising', marks=pytest.mark.slow),
])
def test_losses_and_gradients(case, part, monkeypatch):
    """Every loss of every layer, and the norm of every parameter's gradient."""
    model = case.model.train()
    targets = case.targets(part)
    images, sizes_hw = case.inputs(part)
    monkeypatch.setattr(model.query_selection, 'num_queries', int(case[f'{part}/num_queries']))
    if part.endswith('denoising'):
        labels = case[f'{part}/noised_labels'].long()
        noise = labels.masked_fill(labels < 0, NUM_CLASSES), case[f'{part}/noised_boxes_cxcywh']
        monkeypatch.setattr(model.denoising, 'add_noise', lambda *_: noise)
        groups = int(case[f'{part}/num_groups'])
        assert model.denoising(targets).branch == QueryBranch('dn', labels.shape[1], groups, sees_main=True)
    else:
        monkeypatch.setitem(model._modules, 'denoising', None)
    model.zero_grad()
    losses = model.compute_losses(model.decode(images, targets, sizes_hw), targets)
    sum(losses.values()).backward()

    expected = {our_loss_name(str(name)): value
                for name, value in zip(case.reference[f'{part}/loss_names'], case[f'{part}/loss_values'], strict=True)}
    absent = expected.keys() - losses.keys()
    assert losses.keys() <= expected.keys() and not any(expected[name] for name in absent)
    for name, value in losses.items():
        assert_close(value.detach(), expected[name], 1e-6)
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
    for name, norm in case.gradient_norms(part).items():
        assert norms.get(name, 0.0) == pytest.approx(norm, rel=1e-4, abs=1e-9), name
    assert np.linalg.norm(list(norms.values())) == pytest.approx(float(case[f'{part}/grad_norm']), rel=1e-6)
