"""A page about one detection: its way through the decoder, where it looked, what it is related to, what taught it."""

import cv2
import numpy as np
import torch

from detrove.ops.boxes import box_cxcywh_to_xyxy, pairwise_iou
from detrove.report.blocks import Chart, Picture, Pictures, Section, Table, Text, number, row, section
from detrove.report.page import render
from detrove.report.pictures import RIGHT_RGB, WRONG_RGB, as_data_url, draw_boxes, fit_width
from detrove.report.svg import Series, line_chart
from detrove.report.unavailable import Unavailable

from .decoder_trace import Sampling, neighbours, rank_of
from .detection_view import DetectionView

NEIGHBOURS = 8
_OTHER_RGB = (150, 150, 150)


def detection_page(view: DetectionView, title: str) -> str:
    """The HTML of a detection; nothing in it asks for anything from outside."""
    name, where = view.class_name(view.label), f'query {view.query}'
    subtitle = (f'{name}, score {view.score:.3f}, {where} of {len(view.trace.layers[-1].logits)}'
                + ('' if view.place is None else f', detection {view.place} by score (from 0)'))
    return render(title, subtitle, sections(view))


def sections(view: DetectionView) -> list[Section]:
    """The page's parts; what a model does not have says so."""
    return [
        section('detection', 'Detection', lambda: _overview(view)),
        section('layers', 'Score and rank', lambda: _score_charts(view), lambda: _layer_table(view)),
        section('sampling', 'Where it looked', lambda: _level_chart(view), lambda: _sampling_pictures(view)),
        section('relation', 'Relations', lambda: _relations(view)),
        section('targets', 'What taught it', lambda: _targets(view)),
    ]


def _overview(view: DetectionView) -> Pictures:
    boxes = view.boxes_xyxy(view.trace.layers[-1].boxes_cxcywh[[view.query]])
    text = f'{view.class_name(view.label)} {view.score:.2f}'
    pair = [_picture('the detection', draw_boxes(view.image_rgb, boxes, [RIGHT_RGB], [text]))]
    if view.objects is not None:
        names = [view.class_name(int(label)) for label in view.objects.labels]
        drawn = draw_boxes(view.image_rgb, view.objects.boxes_xyxy, [WRONG_RGB] * len(names), names)
        pair.append(_picture('the annotated objects', drawn))
    return Pictures('the image', [pair])


def _scores(view: DetectionView) -> list[tuple[float, int]]:
    """Score and rank of the pair of query and class after each layer."""
    found = []
    for index, layer in enumerate(view.trace.layers):
        place, scores = int(view.trace.places(index)[view.query]), layer.logits.sigmoid()
        found.append((float(scores[place, view.label]), rank_of(scores, place, view.label)))
    return found


def _score_charts(view: DetectionView) -> list[Chart]:
    scores, ranks = zip(*_scores(view), strict=True)
    layers = range(1, len(scores) + 1)
    charts = []
    for name, values, y_range in (('score', scores, (0, 1)), ('rank', ranks, (0, max(*ranks, 2)))):
        svg = line_chart([Series(name, layers, values, marks=True)], x_label='decoder layer', y_label=name,
                         y_range=y_range, whole='x' if name == 'score' else 'xy',
                         description=f'{name} after each decoder layer: ' + ', '.join(f'{v:.3g}' for v in values))
        charts.append(Chart(f'{name} for {view.class_name(view.label)} after each layer'
                            + (', of all pairs of query and class' if name == 'rank' else ''), svg))
    return charts


def _layer_table(view: DetectionView) -> Table:
    last = box_cxcywh_to_xyxy(view.trace.layers[-1].boxes_cxcywh[view.query])
    rows = []
    for index, (layer, (score, rank)) in enumerate(zip(view.trace.layers, _scores(view), strict=True)):
        place = int(view.trace.places(index)[view.query])
        best = int(layer.logits[place].argmax())
        iou = pairwise_iou(box_cxcywh_to_xyxy(layer.boxes_cxcywh[[place]]), last[None])[0]
        rows.append(row(str(index + 1), number(score, share=True), rank, view.class_name(best),
                        number(float(iou), share=True), place))
    return Table('after each decoder layer', ['layer', 'score', 'rank', 'best class', 'IoU with the last box',
                                              'place in the order of queries'], rows)


def _samplings(view: DetectionView) -> list[Sampling]:
    found = [layer.sampling for layer in view.trace.layers]
    if any(one is None for one in found):
        raise Unavailable('the cross-attention of this decoder is not deformable; it attends to all tokens')
    return found


def _level_chart(view: DetectionView) -> Chart:
    samplings = _samplings(view)
    num_levels = len(samplings[0].sizes_hw)
    shares = np.array([[_share(one, int(view.trace.places(index)[view.query]), level) for level in range(num_levels)]
                       for index, one in enumerate(samplings)])
    series = [Series(f'level {level + 1}', range(1, len(shares) + 1), shares[:, level], colour=level, marks=True)
              for level in range(num_levels)]
    svg = line_chart(series, x_label='decoder layer', y_label='share of attention', y_range=(0, 1),
                     whole='x',
                     description='share of the attention on each feature level, after each decoder layer')
    return Chart('attention on each level, the finest first', svg, [(one.colour, one.name) for one in series])


def _sampling_pictures(view: DetectionView) -> list:
    window = _sampled_window(view)
    blocks = [Text('Circles are sampling points, larger for more weight, with a colour for each head. The box is the '
                   'one that the layer starts from. Shown is the part of the image around them.')]
    for index, (layer, sampling) in enumerate(zip(view.trace.layers, _samplings(view), strict=True)):
        place = int(view.trace.places(index)[view.query])
        reference = view.boxes_xyxy(layer.reference[[place]])
        pictures = []
        for level, (height, width) in enumerate(sampling.sizes_hw):
            drawn = _draw_points(view, sampling, place, level, reference, window)
            pictures.append(_picture(f'level {level + 1}, {width} x {height} cells: '
                                     f'{_share(sampling, place, level):.0%} of the attention', drawn))
        blocks.append(Pictures(f'layer {index + 1}', [pictures[i : i + 2] for i in range(0, len(pictures), 2)]))
    return blocks


def _sampled_window(view: DetectionView) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part of the image with the boxes and the heavier points of all layers.

    It has the image's shape and at least a third of its sides, so that one sees where it lies.
    """
    height, width = view.image_rgb.shape[:2]
    corners = []
    for index, (layer, sampling) in enumerate(zip(view.trace.layers, _samplings(view), strict=True)):
        place = int(view.trace.places(index)[view.query])
        weights = sampling.weights[place].cpu()
        points = sampling.points_xy[place].cpu()[weights >= weights.max() / 10].double().numpy() * view.point_wh
        corners += [view.boxes_xyxy(layer.reference[[place]]).reshape(-1, 2), points.reshape(-1, 2)]
    corners = np.concatenate(corners).clip(0, [width, height])
    low, high = corners.min(0), corners.max(0)
    share = min(1.0, max(1 / 3, 1.2 * float(((high - low) / [width, height]).max())))
    size = np.array([width, height]) * share
    start = ((low + high - size) / 2).clip(0, [width, height] - size)
    return *start.round().astype(int).tolist(), *(start + size).round().astype(int).tolist()


def _share(sampling: Sampling, place: int, level: int) -> float:
    weights = sampling.weights[place]
    return float(weights[:, sampling.levels == level].sum() / weights.sum())


def _draw_points(view: DetectionView, sampling: Sampling, place: int, level: int, reference: np.ndarray,
                 window: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = window
    part = (view.image_rgb[top:bottom, left:right] * 0.7).astype(np.uint8)
    canvas = draw_boxes(part, reference - [left, top, left, top], [_OTHER_RGB], [''])
    scale = fit_width(part)[1]
    on_level = (sampling.levels == level).cpu()
    points = (sampling.points_xy[place].cpu()[:, on_level].double().numpy() * view.point_wh - [left, top]) * scale
    weights = sampling.weights[place].cpu()
    sizes = (weights[:, on_level] / weights.max()).sqrt().numpy()
    for head, (head_points, head_sizes) in enumerate(zip(points, sizes, strict=True)):
        hue = np.uint8([[[round(180 * head / len(points)), 200, 255]]])
        colour = tuple(int(value) for value in cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0])
        for (x, y), size in zip(head_points.clip(-1e4, 1e4), head_sizes, strict=True):
            cv2.circle(canvas, (round(x), round(y)), 1 + round(7 * float(size)), colour, 1 + int(size > 0.5),
                       cv2.LINE_AA)
    return canvas


def _relations(view: DetectionView) -> list:
    chosen, weights = neighbours(view.trace, view.query, NEIGHBOURS)
    if not chosen:
        raise Unavailable('this decoder has no position relation (Relation-DETR)')
    last = view.trace.layers[-1]
    ious = pairwise_iou(*(box_cxcywh_to_xyxy(last.boxes_cxcywh[one]) for one in ([view.query], chosen)))[0]
    known = [index for index, weight in enumerate(weights) if weight is not None]
    rows, texts = [], []
    for query, iou in zip(chosen, ious[0].tolist(), strict=True):
        scores = last.logits[query].sigmoid()
        texts.append(f'{view.class_name(int(scores.argmax()))} {float(weights[known[-1]][query]):.2f}')
        rows.append(row(f'query {query}', view.class_name(int(scores.argmax())), float(scores.max()), iou,
                        *(float(weights[index][query]) for index in known)))
    columns = ['neighbour', 'class', 'score', 'IoU', *(f'layer {index + 1}' for index in known)]
    boxes = view.boxes_xyxy(last.boxes_cxcywh[[*reversed(chosen), view.query]])
    drawn = draw_boxes(view.image_rgb, boxes, [WRONG_RGB] * len(chosen) + [RIGHT_RGB], [*reversed(texts), 'this'])
    return [Text('What the position relation adds to the logits of self-attention, mean over heads: more makes this '
                 'query attend more to that neighbour. It starts with the second layer.'),
            Pictures('strongest in the last layer', [[_picture('with their class and relation', drawn)]]),
            Table('the most related queries', columns, rows)]


def _targets(view: DetectionView) -> list:
    if view.taught is None:
        raise Unavailable('what is annotated in this image is not known (give the number of an image of the '
                          'validation set in place of a file), or nothing is, or the model also learns masks')
    taught = view.taught
    if taught.object_index is None:
        about = Text('The detection overlaps no annotated object. Counted are queries of each branch that learn any '
                     'object.')
    else:
        name = view.class_name(int(view.objects.labels[taught.object_index]))
        about = Text(f'A training step on this image, without augmentation. Counted are queries of each branch whose '
                     f'target is the object that the detection overlaps most, a {name}.')
    rows = [_target_row(view, one) for one in taught.branches]
    return [about, Table('targets after each decoder layer',
                         ['branch', 'layer', 'queries', 'mean IoU', 'mean score', 'this query learns'], rows)]


def _target_row(view: DetectionView, one) -> list:
    taught, matched = view.taught, one.matched_gt
    learns = matched >= 0 if taught.object_index is None else matched == taught.object_index
    ious, scores = (values[learns, matched[learns]].float() for values in (one.ious, one.scores))
    target = ''
    if one.branch == 'main':
        index = int(matched[taught.places[one.layer]])
        target = 'background' if index < 0 else view.class_name(int(view.objects.labels[index]))
        target += ' (another one)' if index >= 0 and index != taught.object_index else ''
    return row(one.branch, one.layer + 1, int(learns.sum()), _mean(ious), _mean(scores), target)


def _mean(values: torch.Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def _picture(caption: str, drawn: np.ndarray) -> Picture:
    return Picture(caption, caption, as_data_url(drawn))

