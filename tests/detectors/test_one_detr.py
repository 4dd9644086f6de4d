"""The detector as a whole: a contract that every configuration of it must keep."""

import copy
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from detrove.apis import build_model

CONFIG = Path(__file__).resolve().parents[2] / 'configs/rt_detr/rtdetr_nano_shapes.py'


def make_model(options=None):
    torch.manual_seed(0)
    return build_model(CONFIG, {'model.decoder.num_layers': 3, **(options or {})})


def make_sample(count, size_hw, seed=0, **metainfo):
    generator = torch.Generator().manual_seed(seed)
    sample = DetDataSample(metainfo=dict(img_shape=size_hw, scale_factor=(1.0, 1.0), **metainfo))
    corner = torch.rand(count, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2, generator=generator) * 40], 1)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.randint(0, 6, (count,), generator=generator))
    return sample


def make_inputs(batch, height=96, width=96, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope='module')
def built():
    return make_model()


@pytest.fixture
def model(built):
    return copy.deepcopy(built)


@pytest.mark.parametrize('counts', [(3, 2), (0, 2), (0, 0), (40, 1), (1,)],
                         ids=['objects', 'one empty', 'all empty', 'crowd', 'one image'])
def test_losses_and_gradients(model, counts):
    model.train()
    losses = model.loss(make_inputs(len(counts)), [make_sample(count, (96, 96)) for count in counts])
    layers = ['', 'd0.', 'd1.']
    assert set(losses) == {prefix + name for prefix in [*layers, 'enc.', *(f'dn.{layer}' for layer in layers)]
                           for name in ('loss_cls', 'loss_bbox', 'loss_giou')}
    assert all(torch.isfinite(value) for value in losses.values())
    for name, value in losses.items():
        assert value > 0 if sum(counts) or 'cls' in name else value == 0, name
    sum(losses.values()).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_losses_do_not_depend_on_image_order(model):
    model.eval()  # batch statistics would not depend on it either, but rounding would
    model.decoder.train()
    model.denoising = None
    inputs, samples = make_inputs(3), [make_sample(count, (96, 96), seed=count) for count in (3, 0, 5)]
    losses = model.loss(inputs, samples)
    reordered = model.loss(inputs[[2, 0, 1]], [samples[i] for i in (2, 0, 1)])
    for name in losses:
        torch.testing.assert_close(losses[name], reordered[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size_hw', [(64, 96), (96, 160), (128, 32)])
def test_any_size_that_the_stride_divides(model, size_hw):
    model.eval()
    with torch.no_grad():
        result, = model.predict(make_inputs(1, *size_hw), [make_sample(0, size_hw)])
    prediction = result.pred_instances
    assert len(prediction) and prediction.bboxes.shape == (len(prediction), 4)
    assert torch.isfinite(prediction.bboxes).all()
    assert (prediction.scores.diff() <= 0).all()
    assert prediction.labels.min() >= 0 and prediction.labels.max() < 6


def test_predictions_are_scaled_to_the_original_image(model):
    model.eval()
    inputs = make_inputs(1)
    scaled = make_sample(0, (96, 96))
    scaled.set_metainfo(dict(scale_factor=(0.5, 0.25)))
    with torch.no_grad():
        plain, = model.predict(inputs, [make_sample(0, (96, 96))], rescale=False)
        rescaled, = model.predict(inputs, [scaled])
    torch.testing.assert_close(plain.pred_instances.bboxes * torch.tensor([2.0, 4.0, 2.0, 4.0]),
                               rescaled.pred_instances.bboxes)


def test_missing_scale_factor_is_named(model):
    with torch.no_grad(), pytest.raises(KeyError, match='scale_factor'):
        model.eval().predict(make_inputs(1), [DetDataSample(metainfo=dict(img_shape=(96, 96)))])


def test_batch_equals_single_images(model):
    model.eval().double()  # in single precision a near-tie may swap two queries
    inputs = make_inputs(3).double()
    with torch.no_grad():
        together = model._forward(inputs)
        alone = [model._forward(image[None]) for image in inputs]
    for i, part in enumerate(together):
        torch.testing.assert_close(part, torch.cat([single[i] for single in alone]), rtol=1e-4, atol=1e-5)


def test_denoising_changes_nothing_for_the_main_branch(model):
    """What inference uses must not depend on queries that exist in training only."""
    model.eval()
    model.decoder.train()
    inputs, samples = make_inputs(2), [make_sample(3, (96, 96)), make_sample(1, (96, 96), seed=1)]
    without = model.loss(inputs, samples)
    assert not any(name.startswith('dn') for name in without)
    model.training = True  # the switch of the branches, leaving batch norms in eval mode
    with_denoising = model.loss(inputs, samples)
    assert any(name.startswith('dn') for name in with_denoising)
    for name, value in without.items():
        torch.testing.assert_close(with_denoising[name], value, rtol=1e-4, atol=1e-5)


def test_denoising_none_removes_it():
    model = make_model({'model.denoising': None})
    assert model.denoising is None
    assert not any(name.startswith('denoising') for name in model.state_dict())
    losses = model.train().loss(make_inputs(2), [make_sample(2, (96, 96)), make_sample(0, (96, 96))])
    assert not any(name.startswith('dn') for name in losses)


def test_fewer_decoder_layers_without_retraining(model):
    """The first two of three layers give what they give as auxiliary output in training."""
    shorter = make_model({'model.decoder.eval_layers': 2})
    shorter.load_state_dict(model.state_dict())
    inputs = make_inputs(1)
    with torch.no_grad():
        boxes = shorter.eval()._forward(inputs)[1]
        model.eval()
        model.decoder.train()
        torch.testing.assert_close(boxes, model.decode(inputs).decoder.boxes_cxcywh[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('layers', [0, 4])
def test_impossible_eval_layers_are_named(layers):
    with pytest.raises(ValueError, match=rf'eval_layers={layers} must lie between 1 and num_layers=3'):
        make_model({'model.decoder.eval_layers': layers})


def test_fused_model_predicts_the_same(model):
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith('running_var'):
                buffer.uniform_(0.5, 1.5)
            elif name.endswith('running_mean'):
                buffer.normal_(std=0.1)
        for head in (model.query_selection.class_head, *model.bbox_head.class_heads):
            head.weight.normal_(generator=torch.Generator().manual_seed(0))
        model.eval().double()  # in single precision a near-tie may swap two queries
        inputs = make_inputs(2).double()
        expected = [part.clone() for part in model._forward(inputs)]
        fused = model.fuse_for_inference()
        for part, expected_part in zip(fused._forward(inputs), expected, strict=True):
            torch.testing.assert_close(part, expected_part, rtol=1e-6, atol=1e-6)


def test_state_does_not_know_the_input_size(model):
    before = {name: value.shape for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.eval()._forward(make_inputs(1, 64, 128))
    assert {name: value.shape for name, value in model.state_dict().items()} == before


def test_building_leaves_the_config_alone():
    config = Config.fromfile(CONFIG)
    before = copy.deepcopy(config.model.to_dict())
    build_model(config)
    assert config.model.to_dict() == before


def test_label_beyond_the_head_is_named(model):
    sample = make_sample(2, (96, 96), img_path='cat.jpg')
    sample.gt_instances.labels[0] = 6
    with pytest.raises(ValueError, match=r'cat\.jpg has an object of class index 6.*num_classes=6'):
        model.train().loss(make_inputs(1), [sample])


def test_wrong_number_of_levels_is_named():
    model = make_model({'model.num_levels': 2})
    with pytest.raises(ValueError, match='3 feature levels, but num_levels=2'):
        model.eval()._forward(make_inputs(1))


def test_half_precision_step(model):
    model.train()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(make_inputs(2), [make_sample(3, (96, 96)), make_sample(0, (96, 96))])
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()


def test_learns_four_images_by_heart():
    """A few hundred steps on four images: every object found, at nearly its place."""
    model = make_model().train()
    inputs = make_inputs(4, 64, 64) * 0.2
    samples = [make_sample(count, (64, 64), seed=count) for count in (1, 2, 0, 1)]
    for image, sample in zip(inputs, samples, strict=True):
        for (x1, y1, x2, y2), label in zip(sample.gt_instances.bboxes.int().tolist(), sample.gt_instances.labels,
                                           strict=True):
            image[label % 3, y1:y2, x1:x2] += 0.5 + 0.1 * float(label)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(120):
        optimizer.zero_grad()
        sum(model.loss(inputs, samples).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    losses = model.loss(inputs, samples)
    assert losses['loss_giou'] < 0.5 and losses['loss_bbox'] < 0.2, losses
