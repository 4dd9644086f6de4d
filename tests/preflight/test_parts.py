"""Lines of keys, sizes of inputs, schedules against batches, and how memory grows."""

import textwrap

import pytest
from mmengine.config import Config

from detrove.engine.config_check import load_config
from detrove.preflight.input_size import largest_input_hw
from detrove.preflight.lines import line_of
from detrove.preflight.memory import MemoryPrediction, _extrapolate
from detrove.preflight.schedule import check_schedule


@pytest.fixture
def files(tmp_path):
    (tmp_path / 'base.py').write_text(textwrap.dedent("""
        model = dict(
            head=dict(num_classes=80),
            parts=[dict(type='A'),
                   dict(type='B', size=3)])
        load_from = None
    """))
    child = tmp_path / 'child.py'
    child.write_text("_base_ = './base.py'\nmodel = dict(head=dict(other=1))\n")
    return child


@pytest.mark.parametrize(('key', 'place'), [
    ('model.head.num_classes', 'base.py, line 3'),
    ('model.head.other', 'child.py, line 2'),
    ('model.head', 'child.py, line 2'),
    ('model.parts.1.size', 'base.py, line 5'),
    ('load_from', 'base.py, line 6'),
    ('model.neck.depth', 'child.py, line 2'),  # what is above it
])
def test_line_that_sets_a_key(files, key, place):
    assert line_of(files, key).endswith(place)


def test_no_line_for_what_no_file_sets(files):
    assert line_of(files, 'train_cfg.max_epochs') is None


@pytest.mark.parametrize(('config', 'size_hw'), [
    ('configs/rt_detr/rtdetr_nano_shapes.py', (192, 192)),
    ('configs/rt_detr/rtdetr_r18vd_8xb2-72e_coco.py', (800, 800)),  # of the batch augmentation
    ('configs/dino/dino-4scale_r50_8xb2-12e_coco.py', (800, 1333)),
])
def test_largest_input(config, size_hw):
    found = largest_input_hw(load_config(config))
    assert found == size_hw or found == tuple(-(-side // 32) * 32 for side in size_hw)


def test_segmentors_are_given_crops():
    cfg = load_config('configs/segmentation/upernet_r18_1k_shapes.py')
    assert largest_input_hw(cfg) == tuple(cfg.model.data_preprocessor['size'])


def test_no_size_is_known_without_a_transform_that_sets_one():
    assert largest_input_hw(Config(dict(model={}, train_dataloader=dict(dataset=dict(pipeline=[]))))) is None


def schedule(**settings):
    cfg = Config(dict(dict(
        train_dataloader=dict(batch_size=2), train_cfg=dict(max_epochs=12), val_dataloader={},
        optim_wrapper=dict(optimizer=dict(lr=1e-4)), auto_scale_lr=dict(base_batch_size=16)), **settings))
    return lambda processes=8, images=10000: {
        one.kind: one for one in check_schedule(cfg, num_processes=processes, num_images=images)}


def test_rate_against_the_batch():
    found = schedule()
    assert not found(8)
    finding = found(1)['schedule.batch']
    assert finding.severity.value == 'warning' and '1.25e-05' in finding.fix and '16 images' in finding.message
    assert not schedule(auto_scale_lr=dict(base_batch_size=16, enable=True))(1)
    assert not schedule(optim_wrapper=dict(optimizer=dict(lr=1e-4), accumulative_counts=8))(1)
    assert 'schedule.no-base-batch' in schedule(auto_scale_lr={})(1)


def test_length_and_warm_up():
    warm_up = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=2000)]
    found = schedule(param_scheduler=warm_up)(8, 1600)
    assert {'schedule.warm-up'} == set(found) and found['schedule.warm-up'].where == 'param_scheduler.0.end'
    assert 'schedule.few-steps' in schedule()(8, 160)
    found = schedule(train_cfg=dict(max_epochs=3, val_interval=5), val_dataloader=dict(batch_size=1))()
    assert 'schedule.never-evaluated' in found


def test_memory_grows_with_pixels():
    sides = (256, 320, 384)
    line = [(side * side, 5e6 + 100.0 * side**2) for side in sides]
    assert _extrapolate(line, 1000**2) == pytest.approx(5e6 + 1e8)
    dense = [(side * side, 1e6 + 10.0 * side**2 + side**4 / 1e3) for side in sides]
    assert _extrapolate(dense, 1000**2) == pytest.approx(1e6 + 1e7 + 1e9)
    prediction = MemoryPrediction(10, 3, 2, (1, 1), True)
    assert (prediction.total(4), prediction.total(4, reduced=True)) == (22, 18)
