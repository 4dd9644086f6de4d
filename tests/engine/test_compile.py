"""`compile` in a config: the parts of a model, once for all image sizes and numbers of objects."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch._dynamo.testing import CompileCounterWithBackend

from detrove.apis import build_model
from detrove.engine.compile import compile_parts

CONFIG = 'configs/rt_detr/rtdetr_nano_shapes.py'
# Sizes of images, objects in each. The last is a special case for torch: one group of queries, square images.
BATCHES = [((96, 160), (2, 4)), ((160, 224), (3, 1)), ((64, 64), (0, 0))]


def data_sample(size_hw, num_objects, generator):
    height, width = size_hw
    sample = DetDataSample(metainfo=dict(img_shape=size_hw, batch_input_shape=size_hw, pad_shape=size_hw))
    xy = torch.rand(num_objects, 2, generator=generator) * torch.tensor([width / 2, height / 2])
    sample.gt_instances = InstanceData(
        bboxes=torch.cat([xy, xy + 20], 1), labels=torch.randint(0, 6, (num_objects,), generator=generator)
    )
    return sample


def losses(model, size_hw, counts):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(len(counts), 3, *size_hw, generator=generator)
    samples = [data_sample(size_hw, count, generator) for count in counts]
    torch.manual_seed(0)  # of the denoising
    found = model.loss(images, samples)
    sum(found.values()).backward()
    return found


@pytest.fixture
def model(pytestconfig):
    torch.manual_seed(0)
    return build_model(Config.fromfile(pytestconfig.rootpath / CONFIG)).train()


def test_compiled_once_for_all_sizes(model):
    expected = [losses(model, *batch) for batch in BATCHES]
    counter = CompileCounterWithBackend('eager')
    names = list(model.state_dict())
    parts = compile_parts(model, dict(backend=counter, parts=['neck', 'decoder']))
    assert parts == ['neck', 'decoder'] and list(model.state_dict()) == names
    frames = []
    for batch, want in zip(BATCHES, expected, strict=True):
        found = losses(model, *batch)
        torch.testing.assert_close(found, want)
        frames.append(counter.frame_count)
    assert frames[:2] == [len(parts)] * 2 and frames[2] <= 2 * len(parts), f'compiled after each batch: {frames}'


def test_parts_that_do_not_exist(model):
    with pytest.raises(ValueError, match=r"OneDETR has no spine.*\['data_preprocessor', 'backbone'"):
        compile_parts(model, dict(parts=['backbone', 'spine'], backend='eager'))


def test_no_compiler(model, monkeypatch):
    monkeypatch.setenv('PATH', '')
    monkeypatch.delenv('CXX', raising=False)
    with pytest.raises(ValueError, match='Install g'):
        compile_parts(model, True)
