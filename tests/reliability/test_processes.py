"""Two and four processes compute what one does of the same images, and judge each image once.

All of it runs in four processes that are started once.
"""

import itertools
import json
import pickle
import runpy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.dataset import DefaultSampler
from mmengine.structures import PixelData
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from detrove.cli import main
from detrove.engine.agreement import check_epoch
from detrove.engine.data_order import SeededBatchSampler
from detrove.reliability.ranks import log_of, run_ranks

_combinations = runpy.run_path(str(Path(__file__).resolve().parents[1] / 'detectors/test_combinations.py'))
make_batch, make_model = _combinations['make_batch'], _combinations['make_model']

FCOS = dict(
    type='FCOS',
    backbone=dict(type='ResNet', depth=18, base_channels=8, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1),
                  out_indices=(1, 2)),
    neck=dict(type='FPN', in_channels=[16, 32], out_channels=16, num_outs=2),
    bbox_head=dict(type='FCOSHead', num_classes=6, in_channels=16, feat_channels=16, stacked_convs=1, strides=[8, 16],
                   regress_ranges=((-1, 16), (16, 1e8)), norm_cfg=dict(type='GN', num_groups=4)),
    test_cfg={})
FCN = dict(
    type='mmseg.EncoderDecoder', backbone=dict(type='mmseg.ResNetV1c', depth=18, base_channels=8),
    decode_head=dict(type='mmseg.FCNHead', in_channels=64, in_index=3, channels=8, num_convs=1, concat_input=False,
                     num_classes=2, loss_decode=dict(type='mmseg.CrossEntropyLoss')))


def detr(*, denoising):
    """With a one-to-many and a group branch; denoising without noise, which is drawn for all images together."""
    model = make_model('rt_detr', ('denoising', 'one_to_many', 'group'))
    if denoising:
        model.denoising.label_noise_ratio = model.denoising.box_noise_scale = 0
    else:
        model.denoising = None
    return model


def segmentation_batch(counts):
    samples = [DetDataSample() for _ in counts]
    for number, sample in enumerate(samples):
        labels = torch.zeros(1, 64, 96, dtype=torch.long)
        labels[:, : 10 + 10 * number] = 1
        sample.gt_sem_seg = PixelData(data=labels)
    return make_batch(counts)[0], samples


#: name -> model, batch, and by number of processes how many objects the images of each process have
CASES = {
    # what a denoising group holds follows from the image with the most objects in a process
    'all branches': (lambda: detr(denoising=True), make_batch, {2: [[3, 1], [2, 3]], 4: [[3], [3], [3], [3]]}),
    'without objects': (lambda: detr(denoising=False), make_batch, {2: [[0, 0], [1, 0]], 4: [[0], [2], [0], [0]]}),
    'unequal batches': (lambda: detr(denoising=False), make_batch, {2: [[2, 0, 3], [1]], 4: [[1, 4], [2], [0], [3]]}),
    'FCOS': (lambda: MODELS.build(FCOS), make_batch, {2: [[2, 1], [4, 0]], 4: [[3], [0], [4], [1]]}),
    'FCN': (lambda: MODELS.build(FCN), segmentation_batch, {2: [[1, 1], [1, 1]], 4: [[1], [1], [1], [1]]}),
}


def losses_and_gradients(name, world_size, rank=None):
    """Of one process of several; of one that has all images where `rank` is None."""
    build, make, splits = CASES[name]
    shares = splits[world_size]
    torch.manual_seed(0)
    model = build().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout2d):  # their statistics and draws are those of a process
            module.eval()
    inputs, samples = make([count for share in shares for count in share])
    parallel = model
    if rank is not None:
        parallel = DistributedDataParallel(model)
        start = sum(map(len, shares[:rank]))
        mine = slice(start, start + len(shares[rank]))
        inputs, samples = inputs[mine], samples[mine]
    losses = {key: sum(value) if isinstance(value, list) else value
              for key, value in parallel(inputs, samples, mode='loss').items() if 'loss' in key}
    sum(losses.values()).backward()
    together = {key: value.detach() for key, value in losses.items()}
    if rank is not None:
        for value in together.values():
            distributed.all_reduce(value)
            value /= world_size
    return together, {key: parameter.grad for key, parameter in model.named_parameters() if parameter.requires_grad}


def run_rank(rank, folder):
    for world_size in (2, 4):
        if rank < world_size:
            distributed.init_process_group('gloo', f'file://{folder}/store{world_size}', rank=rank,
                                           world_size=world_size)
            for name in CASES:
                found = losses_and_gradients(name, world_size, rank)
                if rank == 0:
                    torch.save(found, folder / f'{name} {world_size}.pt')
            if world_size == 4:
                (folder / f'refused {rank}').write_text('\n'.join(refused_epochs()))
            distributed.barrier()  # who leaves first would cut off the others
            distributed.destroy_process_group()
        elif rank == 3:  # has nothing else to do
            for name, size in itertools.product(CASES, (2, 4)):
                torch.save(losses_and_gradients(name, size), folder / f'{name} {size} alone.pt')
    return sum(main(['train', str(folder / f'{kind}.py'), '--work-dir', str(folder / kind), '--launcher', 'pytorch',
                     '--no-preflight']) for kind in ('detection', 'segmentation'))


def refused_epochs():
    """Of 5 images with different numbers for each process, and of 3 images in whole batches."""
    for size, batch_size, round_up in ((5, 1, False), (3, 2, True)):
        sampler = DefaultSampler(range(size), seed=0, round_up=round_up)
        with pytest.raises(ValueError) as refused:
            check_epoch(DataLoader(range(size), batch_sampler=SeededBatchSampler(sampler, batch_size, drop_last=True)))
        yield str(refused.value)


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    from tests.cli.conftest import DETECTION, SEGMENTATION, draw_coco, write_config  # not found by the processes

    folder = tmp_path_factory.mktemp('processes')
    data = draw_coco(folder / 'data', num_images=5)
    # a batch norm of each process, fewer images to train on than places in a step, more or fewer to validate on than
    # processes
    detection = write_config(folder, data, DETECTION, f"""
        train_dataloader['dataset'] = dict(indices=3, **dataset)
        val_evaluator = [val_evaluator, dict(type='DumpDetResults', out_file_path={str(folder / 'found.pkl')!r})]
        test_evaluator = val_evaluator
        custom_hooks = [dict(type='EMAHook', update_buffers=True)]
        """)
    segmentation = write_config(folder, data, SEGMENTATION, """
        val_dataloader['dataset'] = dict(indices=3, **dataset)
        """)
    detection.rename(folder / 'detection.py')
    segmentation.rename(folder / 'segmentation.py')
    statuses = run_ranks(__file__, 'run_rank', 4, folder, timeout_s=600)
    assert statuses == [0] * 4, '\n'.join(log_of(folder, rank) for rank in range(4))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('world_size', [2, 4])
@pytest.mark.parametrize('name', CASES)
def test_losses_and_gradients_are_those_of_one_process(results, name, world_size):
    losses, gradients = torch.load(results / f'{name} {world_size}.pt')
    expected_losses, expected = torch.load(results / f'{name} {world_size} alone.pt')
    assert len(losses) > 0
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-5)
    for key, gradient in expected.items():
        largest = 0 if gradient is None else float(gradient.abs().max())
        torch.testing.assert_close(gradients[key], gradient, rtol=0, atol=1e-5 * max(1, largest),
                                   msg=lambda text, key=key: f'{key}: {text}')


@pytest.mark.slow
def test_an_epoch_that_would_hang_is_refused(results):
    texts = {(results / f'refused {rank}').read_text() for rank in range(4)}
    (text,) = texts
    assert 'rank 0: 2, rank 1: 1' in text and 'round_up=True' in text
    assert '3 images, too few for one batch: 2 images in each of 4 processes' in text


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['detection', 'segmentation'])
def test_each_image_counts_once_and_for_the_model_that_is_saved(results, kind):
    """Metrics of a validation in four processes are those of one process with the checkpoint."""
    (log,) = (results / kind).glob('*/vis_data/scalars.json')
    metric = dict(detection='coco/bbox_mAP', segmentation='mIoU')[kind]
    (found,) = (line for line in map(json.loads, log.read_text().splitlines()) if metric in line)
    dumped = results / 'found.pkl'
    predictions = pickle.loads(dumped.read_bytes()) if kind == 'detection' else []
    checkpoint = results / kind / dict(detection='epoch_1.pth', segmentation='iter_2.pth')[kind]
    work_dir = results / f'{kind} alone'
    assert main(['test', str(results / f'{kind}.py'), str(checkpoint), '--work-dir', str(work_dir)]) == 0
    (log,) = work_dir.glob('*/*.json')
    alone = json.loads(log.read_text())
    assert {key: found[key] for key in alone if 'time' not in key} == {
        key: value for key, value in alone.items() if 'time' not in key}
    assert not predictions or [image['img_id'] for image in predictions] == [1, 2, 3, 4, 5]
    for ours, theirs in zip(predictions, pickle.loads(dumped.read_bytes()) if predictions else [], strict=True):
        assert len(ours['pred_instances']['scores']) > 0
        torch.testing.assert_close(ours['pred_instances']['scores'], theirs['pred_instances']['scores'])
