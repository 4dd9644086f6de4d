"""RT-DETR against recorded outputs of the official code (tests/data/rt_detr/README.md says how they were made).

Weights have the official names and layout and go through the converter. Detections and gradients are compared in double
precision, where the order of near-ties does not depend on rounding; losses in single precision as well.
"""

import functools
import gzip
import json

import numpy as np
import pytest
import torch

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.layers import BatchTargets, QueryBranch
from detrove.ops.boxes import box_cxcywh_to_xyxy, inverse_sigmoid

CONFIGS = dict(
    v1_r18vd='rtdetr_r18vd_8xb2-72e_coco.py',
    v1_r50vd='rtdetr_r50vd_8xb2-72e_coco.py',
    v2_r18vd='rtdetrv2_r18vd_8xb2-120e_coco.py',
    v2_r18vd_dsp='rtdetrv2_r18vd-dsp_8xb2-36e_coco.py',
    v2_r50vd='rtdetrv2_r50vd_8xb2-72e_coco.py',
)


class Case:
    """A model with the official weights, and the official outputs."""

    def __init__(self, root, name):
        data = root / 'tests/data/rt_detr'
        self.name = name
        self.model = build_model(root / 'configs/rt_detr' / CONFIGS[name])
        self.official_shapes = json.loads(gzip.decompress((data / f'keys_{name}.json.gz').read_bytes()))
        self.official = deterministic_state_dict(self.official_shapes)
        self.model.load_state_dict({'ema': {'module': self.official}})
        self.reference = np.load(data / f'reference_{name}.npz')

    def __getitem__(self, key):
        return torch.from_numpy(np.asarray(self.reference[key]))

    def images(self, part):
        return deterministic_images(2, *self[f'{part}/size_hw'].tolist(), seed=int(self[f'{part}/seed']))

    def targets(self, part, dtype=torch.float32):
        labels = [self[f'{part}/labels{i}'].long() for i in range(2)]
        boxes = [self[f'{part}/boxes{i}_cxcywh'].to(dtype) for i in range(2)]
        pad = torch.nn.utils.rnn.pad_sequence
        counts = tuple(len(x) for x in labels)
        valid = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
        return BatchTargets(pad(labels, True), pad(boxes, True), valid, counts)

    def our_loss_name(self, official):
        """'loss_vfl_aux_1' -> 'd1.loss_cls' and so on."""
        kind, _, suffix = official.partition('_aux_')
        prefix = ''
        if '_dn_' in official:
            kind, _, suffix = official.partition('_dn_')
            prefix = 'dn.'
        layer = f'd{suffix}.' if suffix and int(suffix) < self.model.decoder.num_layers - 1 else ''
        if '_enc_0' in official or not prefix and suffix and not layer:
            kind, layer = kind.removesuffix('_enc_0'), 'enc.'
        return prefix + layer + kind.replace('vfl', 'cls')


@functools.cache
def load_case(root, name):
    return Case(root, name)


@pytest.fixture(params=['v1_r18vd', 'v2_r18vd', 'v2_r18vd_dsp', 'v1_r50vd', 'v2_r50vd'])
def case(request):
    return load_case(request.config.rootpath, request.param)


def assert_close(actual, expected, tolerance):
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=tolerance, atol=tolerance)


def test_every_official_weight_is_used(case):
    """Same number of values, and each entry of the model was filled from the file."""
    constants = ('num_batches_tracked', 'num_points_scale', 'anchors', 'valid_mask')
    official = sum(np.prod(shape) for name, shape in case.official_shapes.items() if not name.endswith(constants))
    ours = sum(value.numel() for name, value in case.model.state_dict().items() if not name.endswith(constants))
    assert ours == official


def test_detections(case):
    """Top 300 scores, labels and boxes in pixels at 640 x 640: equal to 1e-4, and in the same order."""
    part = 'eval_640x640'
    model = case.model.eval().double()
    with torch.no_grad():
        decoded = model.decode(case.images(part).double())
    scores, labels, boxes_cxcywh = model.select_detections(decoded.decoder)
    boxes_xyxy = box_cxcywh_to_xyxy(boxes_cxcywh) * case[f'{part}/original_size_wh'].repeat(1, 2)[:, None]
    assert torch.equal(decoded.encoder.token_index, case[f'{part}/float64/selected_tokens'].long())
    assert torch.equal(labels, case[f'{part}/float64/labels'].long())
    assert_close(scores, case[f'{part}/float64/scores'], 1e-6)
    assert_close(boxes_xyxy, case[f'{part}/float64/boxes'], 1e-4)
    model.float()


def test_detections_in_single_precision(case):
    """What users run. Query by query: the same tokens are chosen, but for near-ties, and give the same boxes."""
    part = 'eval_640x640'
    model = case.model.eval()
    with torch.no_grad():
        decoded = model.decode(case.images(part))
    for image in range(2):
        place = {token: i for i, token in enumerate(decoded.encoder.token_index[image].tolist())}
        common = [(i, place[token]) for i, token in enumerate(case[f'{part}/selected_tokens'][image].tolist())
                  if token in place]
        assert len(common) >= 299
        theirs, ours = (list(index) for index in zip(*common, strict=True))
        if len(common) == len(place):  # a query more or less changes all others a little by self-attention
            assert_close(decoded.decoder.boxes_cxcywh[0, image, ours], case[f'{part}/pred_boxes_cxcywh'][image, theirs],
                         1e-3)


def test_other_than_square(case, monkeypatch):
    """Equal to the official code at 480 x 640 (512 x 512 for discrete sampling) with its position embedding put in.

    The official embedding mixes rows and columns on maps that are not square; ours, see `sincos_position`, does not.
    """
    from detrove.projects.rt_detr import hybrid_encoder

    def official_position(height, width, embed_dims, temperature=10000.0):
        omega = temperature ** -(torch.arange(embed_dims // 4) / (embed_dims // 4))
        x, y = (grid.flatten()[:, None] * omega for grid in
                torch.meshgrid(torch.arange(width), torch.arange(height), indexing='ij'))
        return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], 1)[None]

    part = next(key.split('/')[0] for key in case.reference if key.startswith('eval_') and '640x640' not in key)
    model = case.model.eval().double()
    monkeypatch.setattr(hybrid_encoder, 'sincos_position', official_position)
    model.neck[0]._position_cache.clear()
    with torch.no_grad():
        decoded = model.decode(case.images(part).double())
    scores, labels, _ = model.select_detections(decoded.decoder)
    model.neck[0]._position_cache.clear()
    model.float()
    assert torch.equal(labels, case[f'{part}/float64/labels'].long())
    assert_close(scores, case[f'{part}/float64/scores'], 1e-6)


@pytest.mark.parametrize('part', ['train_two_images', 'train_one_empty'])
def test_losses_and_gradients(case, part):
    """Every loss of every layer, and the norm of the gradient: 1e-4 relative."""
    model = case.model.train().double()
    denoising, model.denoising = model.denoising, None
    model.zero_grad()
    losses = model.compute_losses(model.decode(case.images(part).double()), case.targets(part, torch.float64))
    sum(losses.values()).backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    model.denoising = denoising
    model.float()
    names = [case.our_loss_name(str(name)) for name in case.reference[f'{part}/loss_names']]
    assert sorted(names) == sorted(losses)
    for name, expected in zip(names, case[f'{part}/float64/loss_values'], strict=True):
        assert_close(losses[name].detach(), expected, 1e-5)
    assert_close(norm, case[f'{part}/float64/grad_norm_values'].norm(), 1e-5)


@pytest.mark.parametrize('case', ['v1_r18vd'], indirect=True)  # the generator is the same for all
@pytest.mark.parametrize('part', ['train_two_images_denoising', 'train_one_empty_denoising'])
def test_denoising_losses(case, part, monkeypatch):
    """With the official code's own noise put in, the losses of the denoising branch are equal too."""
    model = case.model.train()
    targets = case.targets(part)
    noise = case[f'{part}/noised_labels'].long(), case[f'{part}/noised_boxes_cxcywh']
    monkeypatch.setattr(model.denoising, 'add_noise', lambda *_: noise)
    queries = model.denoising(targets)
    assert queries.branch == QueryBranch('dn', noise[0].shape[1], int(case[f'{part}/dn_num_group']), sees_main=True)
    assert_close(inverse_sigmoid(noise[1]), case[f'{part}/noised_boxes_unact'], 1e-3)
    for image in range(2):
        positive = (queries.matched_gt[image] >= 0).nonzero().flatten()
        assert torch.equal(positive, case[f'{part}/dn_positive_index{image}'].long())
    losses = model.compute_losses(model.decode(case.images(part), targets), targets)
    for name, expected in zip(case.reference[f'{part}/loss_names'], case[f'{part}/loss_values'], strict=True):
        assert_close(losses[case.our_loss_name(str(name))].detach(), expected, 2e-4)
