"""Following a detection through the decoder: what is shown is what the model computed, and the model is left alone."""

import re

import numpy as np
import pytest
import torch

from detrove.analysis.decoder_trace import neighbours, trace_decoder
from detrove.analysis.detection_page import _sampled_window, detection_page
from detrove.analysis.detection_view import Objects, view_detection
from detrove.apis import init_model
from detrove.cli.view_detr import main
from detrove.inference import ImagePipeline

RELATION, RANK = 'configs/relation_detr/relation-rtdetr_nano_shapes.py', 'configs/rank_detr/rank-detr_nano_shapes.py'


def randomised(config):
    """A model whose heads and offsets differ between queries: fresh ones are too equal to tell queries apart."""
    torch.manual_seed(0)
    model = init_model(config)
    with torch.no_grad():
        for parameter in [*model.decoder.parameters(), *model.bbox_head.parameters()]:
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope='module')
def models():
    return {config: randomised(config) for config in (RELATION, RANK)}


@pytest.fixture(scope='module')
def image():
    return np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def objects():
    return Objects(np.array([[10.0, 10, 50, 60], [60, 20, 110, 80]]), np.array([1, 4]))


def traced(model, image):
    packed = ImagePipeline(model.cfg).pack(image)
    inputs = model.data_preprocessor(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))['inputs']
    return trace_decoder(model, inputs, [tuple(inputs.shape[-2:])])


@pytest.mark.parametrize('config', [RELATION, RANK])
def test_the_last_layer_is_what_the_model_says_and_references_follow(models, image, config):
    trace = traced(models[config], image)
    decoded = trace.outputs.decoder
    torch.testing.assert_close(trace.layers[-1].logits, decoded.logits[-1, 0])
    torch.testing.assert_close(trace.layers[-1].boxes_cxcywh, decoded.boxes_cxcywh[-1, 0])
    for index, (layer, after) in enumerate(zip(trace.layers, trace.layers[1:], strict=False)):
        torch.testing.assert_close(after.reference, layer.boxes_cxcywh[layer.order], msg=lambda m, i=index: f'{i}: {m}')
        sampling = layer.sampling
        assert sampling.weights.sum(-1).allclose(torch.ones(()))
        assert len(sampling.sizes_hw) == models[config].num_levels == int(sampling.levels.max()) + 1
    moved = (trace.places(0) != torch.arange(len(trace.places(0)))).any()
    assert bool(moved) is (config == RANK)


def test_relation_to_neighbours(models, image):
    trace = traced(models[RELATION], image)
    chosen, weights = neighbours(trace, 3, 5)
    assert weights[0] is None and len(chosen) == 5 and 3 not in chosen
    before = trace.layers[-2]
    last = models[RELATION].decoder.relation.relate(before.reference[None], before.boxes_cxcywh[None])
    torch.testing.assert_close(weights[-1], last[0, :, 3].mean(0))
    assert neighbours(traced(models[RANK], image), 3, 5)[0] == []


@pytest.mark.parametrize('config', [RELATION, RANK])
def test_targets_of_all_branches(models, image, objects, config):
    model = models[config]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    view = view_detection(model, image, detection=1, objects=objects)
    assert not any(module.training for module in model.modules())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert not any(layer._forward_hooks for layer in model.decoder.layers)

    counts = {}
    for one in view.taught.branches:
        counts.setdefault(one.branch, []).append(int((one.matched_gt >= 0).sum()))
    assert set(counts['main']) == {2}
    if model.one_to_many is not None:
        assert set(counts['o2m']) == {2 * model.one_to_many.targets_per_object}
    assert len(counts['main']) == len(view.taught.places) == len(view.trace.layers)
    assert view.taught.places[-1] == view.query  # training sorts the main queries as inference does


@pytest.mark.parametrize('config', [RELATION, RANK])
def test_page(models, image, objects, config):
    page = detection_page(view_detection(models[config], image, objects=objects), 'a <title>')
    assert 'a &lt;title&gt;' in page and 'http' not in page.replace('http-equiv', '')
    assert ('the most related queries' in page) is (config == RELATION)
    assert ('has no position relation' in page) is (config == RANK)
    assert page.count('<h3>layer ') == len(models[config].decoder.layers)
    assert not re.search(r'>\d+\.\d+</text>', page.partition('rank for')[2].partition('</svg>')[0])  # both axes count
    assert 'targets after each decoder layer' in page
    assert 'is not known' in detection_page(view_detection(models[config], image, query=2), 'without objects')


def test_command(models, tmp_path, monkeypatch, image):
    import cv2

    weights, photo, out = tmp_path / 'weights.pth', tmp_path / 'photo.png', tmp_path / 'page.html'
    torch.save(dict(state_dict=models[RELATION].state_dict()), weights)
    cv2.imwrite(str(photo), image)
    words = [RELATION, str(weights), str(photo), '--out', str(out)]
    assert main(words) == 0 and 'Where it looked' in out.read_text()
    with pytest.raises(FileExistsError, match='exists already'):
        main(words)
    with pytest.raises(IndexError, match='query 9999: there are'):
        main([*words, '--force', '--query', '9999'])

    class Annotated:  # stands for the validation set
        def __len__(self):
            return 2

        def get_data_info(self, index):
            ignored = dict(bbox=[0, 0, 9, 9], bbox_label=0, ignore_flag=1)
            return dict(img_path=str(photo), instances=[dict(bbox=[10, 10, 50, 60], bbox_label=1), ignored])

    monkeypatch.setattr('mmdet.registry.DATASETS.build', lambda config: Annotated())
    assert main([RELATION, str(weights), '1', '--out', str(out), '--force']) == 0
    assert 'targets after each decoder layer' in out.read_text()
    with pytest.raises(IndexError, match='image 2: the validation set has 2'):
        main([RELATION, str(weights), '2', '--out', str(out), '--force'])


@pytest.mark.parametrize(('size', 'scheme'), [((360, 740), 'light'), ((1200, 800), 'dark')])
def test_page_in_chromium(models, image, objects, tmp_path, open_page, size, scheme):
    """As the report's pages, also by keyboard alone."""
    page = tmp_path / 'page.html'
    view = view_detection(models[RELATION], image, objects=objects)
    page.write_text(detection_page(view, 'a page'), encoding='utf-8')
    tab = open_page(page, size, scheme)
    reached = set()
    for _ in range(60):
        tab.keyboard.press('Tab')
        reached.add(tab.evaluate("""() => {
            const one = document.activeElement;
            return one.getAttribute('href') ?? one.getAttribute('aria-label') ?? one.textContent;
        }"""))
    assert {'#sampling', '#targets', 'the most related queries', 'targets after each decoder layer'} <= reached
    head = tab.locator('#layers table th button').first
    head.focus()
    tab.keyboard.press('Enter')
    tab.keyboard.press('Enter')  # rising, then falling
    rows = tab.locator('#layers table tbody th').all_text_contents()
    assert rows == sorted(rows, reverse=True)


def test_sampling_is_shown_around_the_detection(models, image):
    view = view_detection(models[RELATION], image)
    left, top, right, bottom = _sampled_window(view)
    height, width = image.shape[:2]
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert right - left >= width / 3 - 1 and (right - left) / (bottom - top) == pytest.approx(width / height, rel=0.1)
    place = int(view.trace.places(1)[view.query])
    inside = view.boxes_xyxy(view.trace.layers[1].reference[[place]])[0].clip(0, [width, height] * 2)
    assert left - 1 <= inside[0] and inside[2] <= right + 1 and top - 1 <= inside[1] and inside[3] <= bottom + 1
