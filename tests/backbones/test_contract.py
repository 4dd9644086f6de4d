"""What every backbone keeps to, of this project and of other libraries; each in a small setting of conftest.py."""

import copy
import inspect
import re

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.registry import MODELS
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmseg.registry import MODELS as MMSEG_MODELS

import detrove.projects  # noqa: F401  registers every module
from tests.backbones.conftest import BACKBONES

SIZE_HW = 75, 90  # no multiple of a stride


@pytest.fixture(params=BACKBONES)
def backbone(request):
    """Makes the backbone, the same one every time, or with other settings."""
    backbone_class, settings = BACKBONES[request.param]

    def make(**changes):
        torch.manual_seed(0)
        return backbone_class(**copy.deepcopy({**settings, **changes}))

    make.takes = {*inspect.signature(backbone_class).parameters}
    make.config = dict(type=backbone_class.__name__, **settings)
    make.label = request.param
    return make


@pytest.fixture
def images():
    return torch.randn(2, 3, *SIZE_HW, generator=torch.Generator().manual_seed(1))


def loss(outs):
    return sum((x * torch.linspace(-1, 1, x[0].numel()).view(x.shape[1:])).sum() for x in outs)


def gradients(model):
    return {name: x.grad for name, x in model.named_parameters() if x.requires_grad}


def test_every_registered_backbone_is_here():
    registered = {
        cls for registry in (MODELS, MMDET_MODELS, MMSEG_MODELS, MMPRETRAIN_MODELS)
        for cls in registry.module_dict.values()
        if inspect.isclass(cls) and cls.__module__.startswith(('detrove.', 'projects.'))
        and 'out_indices' in inspect.signature(cls).parameters
    }
    assert {cls.__name__ for cls in registered} == {cls.__name__ for cls, _ in BACKBONES.values()}


def test_outputs_are_as_declared(backbone, images):
    """Channels and strides hold on a size that no stride divides, and a batch is the same as its images."""
    model = backbone().eval()
    with torch.no_grad():
        outs = model(images)
        singles = [torch.cat(maps) for maps in zip(*(model(image[None]) for image in images), strict=True)]
    assert isinstance(outs, tuple)
    assert [x.shape[1] for x in outs] == list(model.out_channels)
    assert list(model.out_strides) == sorted(model.out_strides)
    for x, single, stride in zip(outs, singles, model.out_strides, strict=True):
        assert x.is_contiguous()
        assert all(length // stride <= side <= -(-length // stride)
                   for side, length in zip(x.shape[2:], SIZE_HW, strict=True))
        torch.testing.assert_close(x, single, rtol=1e-4, atol=1e-4 * x.abs().max().item())
    assert all(x.std() > 0 for x in outs)


def test_every_parameter_learns(backbone, images):
    """In training mode; recomputing blocks changes neither outputs nor gradients."""
    def run(model):
        torch.manual_seed(2)  # for the depths that are dropped
        return model(images)

    model = backbone().train()
    outs = run(model)
    loss(outs).backward()
    expected = gradients(model)
    assert expected
    for name, grad in expected.items():
        assert grad is not None, name
        assert grad.isfinite().all(), name
    if 'with_cp' not in backbone.takes:
        return
    recomputing = backbone(with_cp=True).train()
    recomputed = run(recomputing)
    loss(recomputed).backward()
    for x, y in zip(outs, recomputed, strict=True):
        assert torch.equal(x, y)
    assert torch.equal(run(copy.deepcopy(recomputing))[-1], outs[-1])  # as for an average of the weights
    for name, grad in gradients(recomputing).items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-5 * expected[name].abs().max().item())


def test_frozen_stages(backbone, images):
    """Minus one freezes nothing, zero the stem alone, one also what the first map needs; frozen parts stay in eval."""
    trained = {name for name, x in backbone().named_parameters() if x.requires_grad}

    stem_frozen = backbone(frozen_stages=0).train()
    frozen = {name for name, x in stem_frozen.named_parameters() if not x.requires_grad} & trained
    assert frozen
    assert all(stem_frozen.get_layer_depth(f'backbone.{name}')[0] == 0 for name in frozen)
    assert all(x.requires_grad for x in stem_frozen(images))

    model = backbone(frozen_stages=1).train()
    outs = model(images)
    # FocalNet trains the norm behind a frozen stage, as its authors do.
    first = [name for name, x in model.named_parameters() if x.requires_grad and not re.fullmatch(r'norm0\.\w+', name)]
    with_first = torch.autograd.grad(loss(outs[:1]), [model.get_parameter(name) for name in first],
                                     allow_unused=True) if outs[0].requires_grad else []
    assert all(grad is None for grad in with_first)
    assert all(x.requires_grad for x in outs[1:])
    assert frozen < {name for name, x in model.named_parameters() if not x.requires_grad}
    for module in model.modules():
        parameters = [*module.parameters(recurse=False)]
        if parameters and not any(x.requires_grad for x in parameters) and not any(module.children()):
            assert not module.training

    with pytest.raises(ValueError, match='frozen_stages=9 must lie between'):
        backbone(frozen_stages=9)


def test_layers_and_weight_decay(backbone):
    model = backbone()
    no_decay = re.compile(model.no_weight_decay)
    names = [name for name, _ in model.named_parameters()]
    assert 0 < sum(bool(no_decay.search(name)) for name in names) < len(names)
    depths = [model.get_layer_depth(f'backbone.{name}') for name in names]
    (num_layers,) = {total for _, total in depths}
    assert {0, 1, 2} <= {depth for depth, _ in depths}
    assert all(0 <= depth < num_layers for depth, _ in depths)
    assert model.get_layer_depth('bbox_head.fc.weight') == (num_layers - 1, num_layers)
    without_prefix = [model.get_layer_depth(name, prefix='') for name in names]
    assert without_prefix == depths


def test_pretrained(backbone, tmp_path, capsys):
    """A file of weights with a classification head of 21,841 classes is loaded, with a report; another is refused."""
    model = backbone()
    network = getattr(model, 'model', model)
    weights = {name: torch.full_like(x, 0.25) for name, x in network.state_dict().items()}
    left_out = [name for name, _ in network.named_parameters()][-1]
    del weights[left_out]
    file = tmp_path / 'weights.pth'
    torch.save({**weights, 'head.weight': torch.zeros(21841, 4), 'surplus': torch.zeros(1)}, file)
    model = backbone(init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    model.init_weights()
    report = capsys.readouterr().out
    loaded = getattr(model, 'model', model)
    assert all((x == 0.25).all() for name, x in loaded.named_parameters() if name != left_out)
    assert not (loaded.get_parameter(left_out) == 0.25).all()
    assert left_out in report
    assert 'surplus' in report
    assert re.search(r"classification layer 'head(\.fc)?' of 21841 classes", report)  # timm's converter renames it

    torch.save({'other.weight': torch.zeros(3)}, file)
    with pytest.raises(ValueError, match='belongs to another model'):
        backbone(init_cfg=dict(type='Pretrained', checkpoint=str(file))).init_weights()


@pytest.mark.parametrize('registry', [MMDET_MODELS, MMSEG_MODELS, MMPRETRAIN_MODELS], ids=lambda x: x.scope)
def test_every_scope_builds_it(registry):
    for backbone_class, settings in {cls: (cls, settings) for cls, settings in BACKBONES.values()}.values():
        assert registry.get(backbone_class.__name__) is backbone_class
        config = dict(type=backbone_class.__name__, **settings)
        before = copy.deepcopy(config)
        assert isinstance(registry.build(config), backbone_class)
        assert config == before
