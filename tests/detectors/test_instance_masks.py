"""The mask branch on every kind of decoder: training, prediction, and nothing at all where it is off."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.config import Config
from mmengine.structures import InstanceData

from detrove.apis import build_model
from detrove.evaluation import CocoEvaluation
from detrove.layers import collate_targets, fuse_for_inference, mask_head

NANO = Path(__file__).resolve().parents[2] / 'configs/rt_detr/rtdetr-ins_nano_shapes.py'
DENOISING = dict(denoising=dict(type='ContrastiveDenoising', num_queries=10))
ENCODER = dict(type='DeformableEncoder', num_layers=1, num_heads=4, num_points=2, feedforward_dims=64)
MODELS = dict(
    rt_detr={},
    rt_detr_without_stride_4=dict(backbone=dict(out_indices=(1, 2, 3)), mask_branch=dict(in_channels=None)),
    boxes_match_alone=dict(mask_branch=dict(criterion=dict(cost_mask=0.0, cost_dice=0.0))),
    denoising=DENOISING,
    rank_relation_group_one_to_many_denoising=dict(
        one_to_many=dict(type='OneToManyBranch', num_queries=40, targets_per_object=3),
        groups=dict(type='GroupBranch', num_groups=3),
        decoder=dict(ranking=dict(type='QueryRanking', num_queries=20, num_one_to_many=40),
                     relation=dict(type='PositionRelation')),
        bbox_head=dict(type='RankAdaptiveHead', num_queries=20, num_one_to_many=40),
        matcher=dict(type='HighOrderMatcher'),
        criterion=dict(loss_class=dict(type='QueryGIoUAwareFocalLoss'), quality='giou'), **DENOISING),
    dino=dict(
        padding_mask=True, encoder=ENCODER, query_selection=dict(content='learned'),
        decoder=dict(position=dict(type='SineBoxPosition', _delete_=True), norm=True, init='xavier'),
        bbox_head=dict(shared=True), **DENOISING),
    deformable_two_stage=dict(
        padding_mask=True, encoder=ENCODER, decoder=dict(position=None, look_forward_twice=False, init='xavier'),
        query_selection=dict(content='position', fixed_position=True, class_agnostic=True, supervise='all')),
    learned_queries=dict(query_selection=dict(_delete_=True, type='LearnedQueries', num_queries=20,
                                              reference='anchor')),
)


def make_model(name='rt_detr', **changes):
    """A model of 2 decoder layers and 20 queries."""
    config = Config.fromfile(NANO)
    small = dict(
        backbone=dict(base_channels=8), embed_dims=32, query_selection=dict(num_queries=20),
        neck=[dict(type='HybridEncoder', in_channels=[16, 32, 64], embed_dims=32, num_heads=4, feedforward_dims=32,
                   expansion=0.5, depth_mult=1 / 3),
              dict(type='ChannelMapper', in_channels=[32] * 3, out_channels=32, kernel_size=1, act_cfg=None,
                   num_outs=3)],
        decoder=dict(layer=dict(feedforward_dims=32)),
        mask_branch=dict(in_channels=8, criterion=dict(num_points=64)))
    del config.model['denoising']
    for part in (small, MODELS[name], changes):
        config.merge_from_dict(dict(model=copy.deepcopy(part)), allow_list_keys=False)
    torch.manual_seed(0)
    return build_model(config)


def make_batch(counts):
    """Rectangles in images of two sizes in inputs of 64 x 96; the originals have twice the size."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i, count in enumerate(counts):
        height, width = [(64, 96), (56, 64)][i % 2]
        corner = torch.rand(count, 2, generator=generator) * 20
        boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 20], 1)
        masks = np.zeros((count, height, width), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(metainfo=dict(
            img_id=i, img_shape=(height, width), ori_shape=(2 * height, 2 * width), scale_factor=(0.5, 0.5)))
        sample.gt_instances = InstanceData(bboxes=boxes, masks=BitmapMasks(masks, height, width),
                                           labels=torch.randint(0, 6, (count,), generator=generator))
        samples.append(sample)
    return torch.rand(len(counts), 3, 64, 96, generator=generator), samples


@pytest.mark.parametrize('name', MODELS)
def test_one_training_step(name):
    """Finite losses of masks in main branch and denoising, a gradient for every parameter, with or without objects."""
    model = make_model(name).train()
    names = []
    for counts in ((4, 0), (0, 0)):
        losses = model.loss(*make_batch(counts))
        names.append(sorted(losses))
        assert all(torch.isfinite(value) for value in losses.values())
        model.zero_grad()
        sum(losses.values()).backward()
        assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert names[0] == names[1]
    learned = {key for key in names[0] if key.endswith(('loss_mask', 'loss_dice'))}
    branches = ['', 'dn.'] if model.denoising is not None else ['']
    assert learned == {f'{branch}{layer}{loss}' for branch in branches for layer in ('d0.', '')
                       for loss in ('loss_mask', 'loss_dice')}


def test_groups_do_not_weaken_masks():
    """Boxes of the main branch share their normaliser with further groups; masks, which these have not, do not."""
    model = make_model(groups=dict(type='GroupBranch', num_groups=3)).train()
    inputs, samples = make_batch((3, 2))
    torch.manual_seed(1)
    losses = model.loss(inputs, samples)
    model.groups = None
    torch.manual_seed(1)
    for name, alone in model.loss(inputs, samples).items():
        share = 1 if name.endswith(('loss_mask', 'loss_dice')) else 3
        torch.testing.assert_close(losses[name] * share, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['denoising', 'dino'])
def test_mixed_precision(name):
    """bfloat16 inside, losses and predictions near those of float32."""
    model = make_model(name).train()
    model.mask_branch.criterion.sampling['num_points'] = 4096  # so that drawing anew changes little
    inputs, samples = make_batch((3, 1))
    losses = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            losses.append(model.loss(inputs, samples))
    for key in ('loss_mask', 'loss_dice'):
        torch.testing.assert_close(*(x[key] for x in losses), rtol=0.1, atol=0.05)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert model.eval().predict(inputs, samples)[0].pred_instances.masks.dtype == torch.bool


def test_switched_off_leaves_everything_alone():
    """The same weights give the same boxes and losses, and the state dict has only the branch's entries more."""
    with_masks, plain = make_model('boxes_match_alone'), make_model('rt_detr', mask_branch=None,
                                                                    backbone=dict(out_indices=(1, 2, 3)))
    weights = with_masks.state_dict()
    own = {name: value for name, value in weights.items() if not name.startswith('mask_branch.')}
    assert plain.state_dict().keys() == own.keys() and len(own) < len(weights)
    plain.load_state_dict(own)
    inputs, samples = make_batch((3, 1))
    losses, expected = with_masks.train().loss(inputs, samples), plain.train().loss(inputs, samples)
    assert all(torch.equal(losses[name], value) for name, value in expected.items())
    with torch.no_grad():
        predictions = with_masks.eval().predict(inputs, copy.deepcopy(samples))
        for ours, theirs in zip(predictions, plain.eval().predict(inputs, samples), strict=True):
            assert 'masks' not in theirs.pred_instances
            for key in ('bboxes', 'scores', 'labels'):
                assert torch.equal(ours.pred_instances[key], theirs.pred_instances[key])


@pytest.mark.parametrize('rescale', [True, False])
def test_masks_have_the_size_of_the_image_and_equal_the_slow_way(rescale, monkeypatch):
    """The chain of Mask2Former: enlarge to the input, cut the padding off, resize; one detection after the other."""
    monkeypatch.setattr(mask_head, 'MAX_PIXELS', 7 * 128 * 192)  # several chunks
    model = make_model('dino').eval()
    inputs, samples = make_batch((0, 0))
    with torch.no_grad():
        outputs = model.decode(inputs, image_sizes_hw=[(64, 96), (56, 64)])
        predictions = model.predict(inputs, samples, rescale=rescale)
        scores, labels, _ = model.select_detections(outputs.decoder)
        best = outputs.decoder.logits[-1].sigmoid().flatten(1).topk(100).indices // 6
    for i, (sample, image_hw) in enumerate(zip(predictions, [(64, 96), (56, 64)], strict=True)):
        found = sample.pred_instances
        size_hw = tuple(2 * side for side in image_hw) if rescale else image_hw
        assert found.masks.shape == (100, *size_hw) and found.masks.dtype == torch.bool
        logits = torch.einsum('qd,dhw->qhw', model.mask_branch.embed(outputs.decoder.queries[-1][i]), outputs.pixels[i])
        for row in range(0, 100, 9):
            cells = logits[best[i, row]]
            inside = cells > 0
            quality = cells[inside].sigmoid().mean() if inside.any() else 0.0
            torch.testing.assert_close(found.mask_scores[row], scores[i, row] * quality)
            for y in range(0, size_hw[0], 11):
                for x in range(0, size_hw[1], 13):
                    place_y = ((y + 0.5) / size_hw[0] * image_hw[0] / 64) * cells.shape[0] - 0.5
                    place_x = ((x + 0.5) / size_hw[1] * image_hw[1] / 96) * cells.shape[1] - 0.5
                    value = bilinear(cells, place_y, place_x)
                    assert abs(value) < 1e-4 or found.masks[row, y, x] == (value > 0)


def bilinear(cells, y, x):
    """Value between cells; those of the border reach outwards."""
    height, width = cells.shape
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = cells[top, left] * (1 - x + left) + cells[top, right] * (x - left)
    lower = cells[bottom, left] * (1 - x + left) + cells[bottom, right] * (x - left)
    return (upper * (1 - y + top) + lower * (y - top)).item()


def test_fused_form_predicts_the_same_masks():
    model = make_model().eval()
    inputs, samples = make_batch((0,))
    with torch.no_grad():
        expected = model.predict(inputs, copy.deepcopy(samples))[0].pred_instances
        found = fuse_for_inference(model).predict(inputs, samples)[0].pred_instances
    torch.testing.assert_close(found.mask_scores, expected.mask_scores, rtol=1e-3, atol=1e-5)
    assert (found.masks == expected.masks).float().mean() > 0.999


def test_bitmaps_and_polygons_become_padded_targets():
    _, samples = make_batch((2, 0, 1))
    square = np.array([10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0])
    samples[2].gt_instances.masks = PolygonMasks([[square]], 64, 96)
    sizes_hw = [(64, 96)] * 3
    targets = collate_targets(samples, sizes_hw, 6, torch.device('cpu'), (64, 96))
    assert targets.masks.shape == (3, 64, 96) and targets.masks.dtype == torch.bool
    for row in range(2):
        assert np.array_equal(targets.masks[row].numpy(), samples[0].gt_instances.masks.masks[row] > 0)
    assert targets.masks[2, 11:29, 11:29].all() and targets.masks[2].sum() < 500
    image, slot = targets.objects()
    assert image.tolist() == [0, 0, 2] and slot.tolist() == [0, 1, 0]
    assert collate_targets(samples, sizes_hw, 6, torch.device('cpu')).masks is None


def test_wrong_masks_are_refused():
    model = make_model().train()
    inputs, samples = make_batch((2, 1))
    without = copy.deepcopy(samples)
    del without[1].gt_instances.masks
    with pytest.raises(ValueError, match='with_mask=True'):
        model.loss(inputs, without)
    samples[0].gt_instances.masks = BitmapMasks(np.zeros((2, 80, 96), np.uint8), 80, 96)
    with pytest.raises(ValueError, match='Transforms must change masks with their boxes'):
        model.loss(inputs, samples)


def test_a_backbone_without_the_finest_map_is_refused():
    model = make_model(backbone=dict(out_indices=(1, 2, 3)))
    with pytest.raises(ValueError, match='in_channels=8, but the first output of the backbone has 16 channels'):
        model.extract_feat(make_batch((0,))[0])


def test_evaluation_says_that_masks_are_missing(tmp_path):
    ann_file = tmp_path / 'truth.json'
    ann_file.write_text('{"images": [{"id": 0}], "categories": [{"id": 1, "name": "a"}], "annotations": []}')
    metric = CocoEvaluation(ann_file=str(ann_file), metric='segm')
    metric.dataset_meta = dict(classes=('a',))
    boxes = dict(bboxes=torch.rand(1, 4), scores=torch.rand(1), labels=torch.zeros(1, dtype=torch.int64))
    metric.process({}, [dict(img_id=0, pred_instances=boxes)])
    with pytest.raises(ValueError, match='the model predicts boxes alone'):
        metric.compute_metrics(metric.results)


@pytest.mark.parametrize(('own_scores', 'expected'), [(True, 1.0), (False, 0.5)])
def test_masks_are_ranked_by_their_own_scores(tmp_path, own_scores, expected):
    """Two detections of one object, the better box with the wrong mask."""
    mask = np.zeros((2, 40, 40), dtype=bool)
    mask[0, :5, :5] = mask[1, 10:30, 10:30] = True
    polygon = [[10, 10, 30, 10, 30, 30, 10, 30]]
    truth = dict(images=[dict(id=0, width=40, height=40)], categories=[dict(id=1, name='a')], annotations=[
        dict(id=1, image_id=0, category_id=1, bbox=[10, 10, 20, 20], area=400, iscrowd=0, segmentation=polygon)])
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    metric = CocoEvaluation(ann_file=str(tmp_path / 'truth.json'), metric='segm')
    metric.dataset_meta = dict(classes=('a',))
    found = dict(bboxes=torch.tensor([[10.0, 10, 30, 30]] * 2), scores=torch.tensor([0.9, 0.5]),
                 labels=torch.zeros(2, dtype=torch.int64), masks=torch.from_numpy(mask))
    if own_scores:
        found['mask_scores'] = torch.tensor([0.1, 0.4])
    metric.process({}, [dict(img_id=0, pred_instances=found)])
    assert metric.compute_metrics(metric.results)['segm_mAP_50'] == pytest.approx(expected)


@pytest.mark.slow
def test_a_few_images_are_learned_by_heart():
    """The masks of two images, in a hundred steps from scratch."""
    model = make_model().train()
    inputs, samples = make_batch((2, 2))
    for i, sample in enumerate(samples):  # what is to be segmented can be seen
        for label, mask in enumerate(sample.gt_instances.masks.masks):
            inputs[i, :, :mask.shape[0], :mask.shape[1]] += torch.eye(3)[label][:, None, None] * torch.from_numpy(mask)
        sample.gt_instances.labels = torch.tensor([0, 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(100):
        optimizer.zero_grad()
        sum(model.loss(inputs, samples).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for module in model.modules():  # statistics of two images are no good for prediction
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    with torch.no_grad():
        predictions = model.eval().predict(inputs, samples, rescale=False)
    for sample in predictions:
        found, wanted = sample.pred_instances, torch.from_numpy(sample.gt_instances.masks.masks > 0)
        for label, mask in enumerate(wanted):
            best = found.masks[found.labels == label][0]
            iou = (best & mask).sum() / (best | mask).sum()
            assert iou > 0.7, iou
