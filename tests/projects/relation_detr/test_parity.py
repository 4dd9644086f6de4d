"""Relation-DETR and DINO++ against recorded outputs of the official code (tests/data/relation_detr/README.md).

Everything in double precision: with random weights near-ties in the ranking of tokens would depend on rounding. Images
of a batch differ in size, so that there is padding.
"""

import gzip
import json

import numpy as np
import pytest
import torch

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.layers import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy, inverse_sigmoid
from detrove.projects.relation_detr.checkpoint import convert_official

CONFIGS = {
    'relation-detr_r50': 'relation-detr_r50_8xb2-12e_coco.py',
    'dino++_r50': 'relation-dino_r50_8xb2-12e_coco.py',
}


class Case:
    """A model with the official weights, and the official outputs."""

    def __init__(self, root, name):
        data = root / 'tests/data/relation_detr'
        self.reference = np.load(data / f'reference_{name}.npz')
        self.num_queries, self.num_hybrid = int(self['num_queries']), int(self['num_hybrid_queries'])
        options = {'model.bbox_head.num_classes': 91, 'model.query_selection.num_queries': self.num_queries,
                   'model.denoising.num_queries': int(self['num_denoising'])}
        if self.num_hybrid:
            options['model.one_to_many.num_queries'] = self.num_hybrid
        self.model = build_model(root / 'configs/relation_detr' / CONFIGS[name], options)
        self.official_shapes = json.loads(gzip.decompress((data / f'keys_{name}.json.gz').read_bytes()))
        official = deterministic_state_dict(self.official_shapes)
        for table, rows in (('tgt_embed', self.num_queries), ('hybrid_tgt_embed', self.num_hybrid)):
            if f'transformer.{table}.weight' in official:
                official[f'transformer.{table}.weight'] = official[f'transformer.{table}.weight'][:rows]
        self.model.load_state_dict({'model': {**official, '_classes_': torch.tensor([110, -1])}})
        self.model.double()

    def __getitem__(self, key):
        return torch.from_numpy(np.asarray(self.reference[key]))

    def inputs(self, part):
        """Padded images, and the size of each."""
        sizes = [tuple(size) for size in self[f'{part}/image_hw'].tolist()]
        images = deterministic_images(len(sizes), *np.max(sizes, axis=0), seed=int(self['seed'])).double()
        for image, (height, width) in zip(images, sizes, strict=True):
            image[:, height:], image[:, :, width:] = 0, 0
        return images, sizes

    def targets(self, part):
        labels = [self[f'{part}/labels{i}'].long() for i in range(2)]
        boxes = [self[f'{part}/boxes{i}_cxcywh'].double() for i in range(2)]
        counts = tuple(len(x) for x in labels)
        padded = (2, max(1, *counts))
        targets = BatchTargets(torch.zeros(padded, dtype=torch.int64), torch.zeros(*padded, 4, dtype=torch.float64),
                               torch.arange(padded[1])[None] < torch.tensor(counts)[:, None], counts)
        targets.labels[targets.valid] = torch.cat(labels)
        targets.boxes_cxcywh[targets.valid] = torch.cat(boxes)
        return targets

    @staticmethod
    def our_loss_name(official):
        """'loss_class_dn_1' -> 'dn.d1.loss_cls', 'loss_giou_enc_hybrid' -> 'o2m.enc.loss_giou' and so on."""
        _, kind, *suffixes = official.split('_')
        branch = {'hybrid': 'o2m.', 'dn': 'dn.'}
        layer = {'enc': 'enc.', **{str(i): f'd{i}.' for i in range(5)}}
        suffixes.sort(key=lambda suffix: suffix in layer)
        prefix = ''.join(branch.get(suffix) or layer[suffix] for suffix in suffixes)
        return f'{prefix}loss_{kind.replace("class", "cls")}'


@pytest.fixture(scope='module', params=list(CONFIGS))
def case(request):
    return Case(request.config.rootpath, request.param)


def assert_close(actual, expected, tolerance):
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=tolerance, atol=tolerance)


def test_every_official_weight_is_used(case):
    """Same number of values: ours have one more row of labels, for empty slots, and count the norms of the backbone."""
    sliced = {'transformer.tgt_embed.weight': case.num_queries, 'transformer.hybrid_tgt_embed.weight': case.num_hybrid}
    official = sum(np.prod([sliced.get(name, shape[0]), *shape[1:]]) for name, shape in case.official_shapes.items())
    ours = sum(value.numel() for name, value in case.model.state_dict().items() if 'num_batches_tracked' not in name)
    assert ours == official + 256


def test_detections(case):
    """300 scores, labels and boxes in pixels of the original image: equal to 1e-4, and in the same order."""
    for part in ('eval_two_images', 'eval_one_image'):
        images, sizes = case.inputs(part)
        model = case.model.eval()
        with torch.no_grad():
            outputs = model.decode(images, image_sizes_hw=sizes)
        scores, labels, boxes_cxcywh = model.select_detections(outputs.decoder)
        boxes_xyxy = box_cxcywh_to_xyxy(boxes_cxcywh) * case[f'{part}/original_hw'].flip(1).repeat(1, 2)[:, None]
        assert torch.equal(labels, case[f'{part}/labels'].long())
        assert_close(scores, case[f'{part}/scores'], 1e-6)
        assert_close(boxes_xyxy, case[f'{part}/boxes_xyxy'], 1e-4)
        assert_close(outputs.decoder.boxes_cxcywh[-1], case[f'{part}/pred_boxes_cxcywh'], 1e-6)


def test_every_layer(case):
    """Boxes and logits of all layers entry by entry: the losses would hardly notice a missing relation."""
    part = 'eval_two_images'
    images, sizes = case.inputs(part)
    with torch.no_grad():
        outputs = case.model.train().decode(images, image_sizes_hw=sizes)
    queries = case[f'{part}/layer_queries']
    assert_close(outputs.decoder.boxes_cxcywh[:, :, queries], case[f'{part}/layer_boxes_cxcywh'], 1e-6)
    assert_close(outputs.decoder.logits[:, :, queries, :8], case[f'{part}/layer_logits'], 1e-5)
    chosen = outputs.encoder.boxes_cxcywh[..., 0] < 1  # those in the padding are all alike, in any order
    assert torch.equal(outputs.encoder.token_index[chosen], case[f'{part}/selected_tokens'].long()[chosen])


SLOW = dict(marks=pytest.mark.slow)


@pytest.mark.parametrize(('case', 'part'), [
    ('relation-detr_r50', 'train_two_images_denoising'),
    ('relation-detr_r50', 'train_one_empty_denoising'),
    pytest.param('relation-detr_r50', 'train_two_images', **SLOW),
    pytest.param('relation-detr_r50', 'train_one_empty', **SLOW),
    ('dino++_r50', 'train_two_images_denoising'),
    pytest.param('dino++_r50', 'train_one_empty_denoising', **SLOW),
    pytest.param('dino++_r50', 'train_two_images', **SLOW),
    pytest.param('dino++_r50', 'train_one_empty', **SLOW),
], indirect=['case'])
def test_losses_and_gradients(case, part, monkeypatch):
    """Every loss of every layer, the norm of the gradient, and of the gradient of every parameter."""
    model, targets = case.model.train(), case.targets(part)
    if part.endswith('denoising'):
        put_official_noise_in(case, part, monkeypatch)
    else:
        monkeypatch.setitem(model._modules, 'denoising', None)
    losses, gradients = losses_and_gradients(case, part, targets)
    names = [case.our_loss_name(str(name)) for name in case.reference[f'{part}/loss_names']]
    assert sorted(names) == sorted(losses)
    for name, expected in zip(names, case[f'{part}/loss_values'], strict=True):
        assert_close(losses[name].detach(), expected, 1e-6)
    total = case[f'{part}/grad_norm']
    assert_close(torch.stack(list(gradients.values())).norm(), total, 1e-5)
    for name, expected in official_gradient_norms(case, part).items():
        # without denoising officially a zero goes to the table of labels, and here nothing
        actual = gradients.get(name, torch.zeros_like(expected))
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize('case', ['relation-detr_r50'], indirect=True)
def test_batch_without_objects(case, monkeypatch):
    """The sums are divided by one, also those of the one-to-many branch."""
    part = 'train_all_empty'
    monkeypatch.setitem(case.model.train()._modules, 'denoising', None)
    losses, _ = losses_and_gradients(case, part, case.targets(part))
    for official, expected in zip(case.reference[f'{part}/loss_names'], case[f'{part}/loss_values'], strict=True):
        assert_close(losses[case.our_loss_name(str(official))].detach(), expected, 1e-6)


def losses_and_gradients(case, part, targets):
    images, sizes = case.inputs(part)
    model = case.model
    model.zero_grad()
    losses = model.compute_losses(model.decode(images, targets, sizes), targets)
    sum(losses.values()).backward()
    return losses, {name: value.grad.norm() for name, value in model.named_parameters() if value.grad is not None}


def put_official_noise_in(case, part, monkeypatch):
    labels, boxes = case[f'{part}/noised_labels'].long(), case[f'{part}/noised_boxes_cxcywh']
    used = labels >= 0
    denoising = case.model.denoising
    monkeypatch.setattr(denoising, 'add_noise', lambda *_: (labels.where(used, 91), boxes.clamp(min=0)))
    queries = denoising(case.targets(part))
    groups = int(case[f'{part}/dn_num_groups'])
    assert (queries.branch.num_queries, queries.branch.num_groups, queries.branch.sees_main) == (
        labels.shape[1], groups, True)
    assert_close(queries.reference_unact, case[f'{part}/noised_boxes_unact'], 1e-6)
    assert_close(queries.reference_unact[used], inverse_sigmoid(boxes, 1e-3)[used], 1e-12)
    assert_close(queries.content.norm(dim=-1), case[f'{part}/dn_content_norm'], 1e-6)


def official_gradient_norms(case, part):
    """Our name of each parameter -> norm of its gradient officially."""
    norms = dict(zip(case.reference['grad_norm_names'].tolist(), case[f'{part}/grad_norm_values'], strict=True))
    filled = {name: torch.full(case.official_shapes[name], float(norm), dtype=torch.float64)
              for name, norm in norms.items()}
    convert_official(filled, case.model)
    return {name: value.flatten()[0] for name, value in filled.items()}
