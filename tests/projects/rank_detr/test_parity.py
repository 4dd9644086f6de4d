"""Rank-DETR against recorded outputs of the official code (tests/data/rank_detr/README.md says how they were made).

All in double precision: with random weights the scores of neighbours in the ranking differ by as little as 1e-7, and
one exchange changes everything behind it.
"""

import functools
import gzip
import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.assigners.hungarian import MatchSet
from detrove.checkpoints import conversion
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.layers import BatchTargets, memory
from detrove.ops.boxes import box_cxcywh_to_xyxy
from detrove.projects.rank_detr import high_order_matcher

CONFIG = 'configs/rank_detr/rank-detr_r50_8xb2-12e_coco.py'
PARTS = ['train_two_images', 'train_two_images_high_order', 'train_one_empty', 'train_one_empty_high_order']


class Case:
    """A model with the official weights, its number of queries as recorded; `zeroed`: rank embeddings are zero."""

    def __init__(self, root, zeroed):
        data = root / 'tests/data/rank_detr'
        self.reference = np.load(data / 'reference_rank-detr_r50.npz')
        self.prefix = 'zeroed/' if zeroed else ''
        self.num_main, self.num_many = self[f'{self.prefix}num_queries'].tolist()
        ranks = dict(num_queries=self.num_main, num_one_to_many=self.num_many)
        config = Config.fromfile(root / CONFIG)
        config.merge_from_dict(dict(model=dict(
            backbone=dict(init_cfg=None), query_selection=dict(num_queries=self.num_main),
            one_to_many=dict(num_queries=self.num_many), decoder=dict(ranking=ranks), bbox_head=ranks)))
        self.model = build_model(config)
        self.official_shapes = json.loads(gzip.decompress((data / 'keys_rank-detr_r50.json.gz').read_bytes()))
        self.official = self.official_weights(zeroed)
        self.model.load_state_dict({'model': self.official, 'iteration': 89999})
        self.model.double()

    def official_weights(self, zeroed):
        """Official names; heads that have two names are filled by the first, and their scores are made small."""
        weights = deterministic_state_dict(self.official_shapes)
        for name in weights:
            if 'transformer.decoder.class_embed.' in name and name.endswith('.bias'):
                weights[name] = weights[name] - 4
        for name in weights:
            if name.startswith(('class_embed.', 'bbox_embed.')):
                weights[name] = weights[f'transformer.decoder.{name}']
            if name.startswith(('transformer.decoder.rank_aware', 'rank_adaptive')):
                rows = weights[name][:self.num_main + self.num_many]
                weights[name] = torch.zeros_like(rows) if zeroed else rows
        weights['query_embedding.weight'] = weights['query_embedding.weight'][:self.num_main + self.num_many]
        return weights

    def __getitem__(self, key):
        return torch.from_numpy(np.asarray(self.reference[key]))

    def decode(self, part, targets=None):
        sizes_hw = self[f'{part}/image_hw'].tolist()
        mean, std = (self[name].view(3, 1, 1) for name in ('pixel_mean', 'pixel_std'))
        images = deterministic_images(len(sizes_hw), *sizes_hw[0], seed=int(self['seed'])).double() * 255
        inputs = torch.zeros_like(images)
        for padded, image, (height, width) in zip(inputs, images, sizes_hw, strict=True):
            padded[:, :height, :width] = ((image - mean) / std)[:, :height, :width]
        return self.model.decode(inputs, targets, sizes_hw)

    def targets(self, part):
        labels = [self[f'{part}/labels{i}'].long() for i in range(2)]
        boxes = [self[f'{part}/boxes{i}_cxcywh'].double() for i in range(2)]
        counts = tuple(len(x) for x in labels)
        valid = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
        pad = torch.nn.utils.rnn.pad_sequence
        return BatchTargets(pad(labels, True), pad(boxes, True), valid, counts)

    @functools.cached_property
    def training_outputs(self):
        """One forward pass serves all parts: the queries do not depend on the objects. Gradients: not with `zeroed`."""
        part = f'{self.prefix}train_two_images'
        self.model.train()
        with torch.set_grad_enabled(not self.prefix):
            return self.decode(part, self.targets(part))

    def gradient_norm(self, official_name):
        """Of the parameters that were filled from an official entry."""
        converted = dict(self.official)
        conversion.find_converter(converted).convert(converted, self.model)
        storage = self.official[official_name].untyped_storage().data_ptr()
        names = [name for name, value in converted.items() if value.untyped_storage().data_ptr() == storage]
        return torch.stack([self.model.get_parameter(name).grad.norm() for name in names]).norm()


@functools.cache
def load_case(root, zeroed):
    return Case(root, zeroed)


@pytest.fixture(autouse=True)
def double_precision_geometry(monkeypatch):
    """The geometry of tokens is float32 in our models of any precision, and float64 in these references."""
    level_wh, valid_cells = memory._level_wh, memory._valid_cells
    monkeypatch.setattr(memory, '_level_wh', lambda *args: level_wh(*args).double())
    monkeypatch.setattr(memory, '_valid_cells', lambda *args: valid_cells(*args).double())


@pytest.fixture
def case(request):
    return load_case(request.config.rootpath, False)


def assert_close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=tolerance, atol=tolerance)


def set_progress(monkeypatch, part):
    progress = 0.75 if part.endswith('high_order') else 0.7499
    monkeypatch.setattr(high_order_matcher, 'training_progress', lambda: progress)


def our_loss_name(official):
    """'loss_class_1_one2many' -> 'o2m.d1.loss_cls' and so on."""
    kind, layer, many = re.fullmatch(r'(loss_[a-z]+)(?:_(enc|\d))?(_one2many)?', official).groups()
    layer = '' if layer is None else 'enc.' if layer == 'enc' else f'd{layer}.'
    return ('o2m.' if many else '') + layer + kind.replace('class', 'cls')


def test_every_official_weight_is_used(case):
    """As many trained values as the official model, and each entry of the model was filled from the file."""
    first_names = {name: shape for name, shape in case.official_shapes.items()
                   if not name.startswith(('class_embed.', 'bbox_embed.'))}
    official = sum(value.numel() for name, value in case.official.items() if name in first_names)
    ours = sum(value.numel() for name, value in case.model.state_dict().items()
               if not name.endswith('num_batches_tracked'))
    assert ours == official


@pytest.mark.parametrize('part', ['eval_one_image', 'eval_two_images'])
def test_detections(case, part):
    """Scores, labels and boxes in pixels, in the same order; the official code clips boxes in the end."""
    model = case.model.eval()
    with torch.no_grad():
        outputs = case.decode(part)
    scores, labels, boxes_cxcywh = model.select_detections(outputs.decoder)
    scale_wh = case[f'{part}/original_hw'].flip(-1).repeat(1, 2)[:, None]
    boxes_xyxy = box_cxcywh_to_xyxy(boxes_cxcywh) * scale_wh
    assert torch.equal(outputs.encoder.token_index, case[f'{part}/selected_tokens'].long())
    assert_close(outputs.decoder.logits[-1].amax(-1), case[f'{part}/pred_logits_max'])
    assert_close(scores, case[f'{part}/scores'])
    assert torch.equal(labels, case[f'{part}/labels'].long())
    assert_close(boxes_xyxy, case[f'{part}/boxes_xyxy_unclipped'])
    for image, (height, width) in enumerate(case[f'{part}/original_hw'].tolist()):
        limit = torch.tensor([width, height, width, height], dtype=boxes_xyxy.dtype)
        assert_close(boxes_xyxy[image].clamp(min=0).minimum(limit), case[f'{part}/clipped_boxes_xyxy{image}'], 1e-6)


def test_every_layer_in_training(case):
    """Padded images: classes and boxes of some queries after each layer, which lie in the order of their ranks."""
    part = 'train_two_images'
    outputs = case.training_outputs
    index = case[f'{part}/layer_queries'].long()
    logits, boxes = (x.detach()[:, :, :case.num_main] for x in outputs.decoder[:2])
    assert_close(logits[:, :, index, :8], case[f'{part}/layer_logits'])
    assert_close(boxes[:, :, index], case[f'{part}/layer_boxes_cxcywh'])
    assert_close(boxes[-1], case[f'{part}/pred_boxes_cxcywh'])


@pytest.mark.parametrize('part', PARTS)
@pytest.mark.parametrize('zeroed', [False, True])
def test_losses(request, monkeypatch, part, zeroed):
    """Every loss of every layer in both branches and of the encoder, before and after the matching cost changes."""
    case = load_case(request.config.rootpath, zeroed)
    part = case.prefix + part
    set_progress(monkeypatch, part)
    with torch.no_grad():
        losses = case.model.compute_losses(case.training_outputs, case.targets(part))
    names = [our_loss_name(str(name)) for name in case.reference[f'{part}/loss_names']]
    assert sorted(names) == sorted(losses)
    for name, expected in zip(names, case[f'{part}/loss_values'], strict=True):
        assert_close(losses[name], expected)


@pytest.mark.parametrize('part', ['train_two_images', 'train_one_empty_high_order'])
def test_gradients(case, monkeypatch, part):
    """The norm of the whole gradient, and of the parameters that the paper adds among others."""
    set_progress(monkeypatch, part)
    case.model.zero_grad()
    losses = case.model.compute_losses(case.training_outputs, case.targets(part))
    sum(losses.values()).backward(retain_graph=True)
    trained = [p for p in case.model.parameters() if p.requires_grad]
    assert not [p for p in trained if p.grad is None]
    assert_close(torch.stack([p.grad.norm() for p in trained]).norm(), case[f'{part}/grad_norm'])
    names = case.reference['grad_names'].tolist()
    for name, expected in zip(names, case[f'{part}/grad_values'], strict=True):
        assert_close(case.gradient_norm(name), expected)


@pytest.mark.parametrize('kind, part', [('cost', 'train_two_images'), ('high_order_cost', '_high_order')])
def test_matching_cost_alone(case, monkeypatch, kind, part):
    set_progress(monkeypatch, part)
    logits, boxes = case['component/logits'].double(), case['component/boxes_cxcywh'].double()
    targets = case.targets('train_two_images')
    costs = case.model.matcher.cost_matrix(logits, boxes, targets)
    matched = case.model.matcher(logits, boxes, targets, [MatchSet(12)])
    for image, count in enumerate(targets.counts):
        assert_close(costs[image, :, :count], case[f'component/{kind}{image}'])
        query, gt = case[f'component/{kind}_matched{image}'].long()
        assert torch.equal(matched[image, query], gt)
        assert (matched[image] >= 0).sum() == count


def test_class_loss_alone(case, monkeypatch):
    set_progress(monkeypatch, 'train_two_images')
    logits, boxes = case['component/logits'].double().requires_grad_(), case['component/boxes_cxcywh'].double()
    targets = case.targets('train_two_images')
    matched = case.model.matcher(logits, boxes, targets, [MatchSet(12)])
    loss = case.model.criterion(logits, boxes, matched, targets)['loss_cls'].sum() / targets.total
    loss.backward()
    weight = case.model.criterion.weight_class
    assert_close(loss.detach() / weight, case['component/giou_aware_loss'])
    assert_close(logits.grad / weight, case['component/giou_aware_loss_gradient'])
