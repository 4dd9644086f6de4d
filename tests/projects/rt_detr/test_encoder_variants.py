"""The encoders of RT-DETR's table 3: what their config files build, small, and their parameters at full size.

No official code of variants A to D exists to compare with; E is the hybrid encoder, whose parity test_parity.py holds.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from detrove.apis import build_model
from detrove.projects.rt_detr import HybridEncoder, IntraScaleEncoder, PathAggregationEncoder

# variant -> config, millions of parameters of the whole model as the paper counts them: the full ones
VARIANTS = {
    'A': ('rtdetr-encoder-a', 31), 'B': ('rtdetr-encoder-b', 32), 'C': ('rtdetr-encoder-c', 32),
    'D': ('rtdetr-encoder-d', 35), 'D_S5': ('rtdetr-encoder-d-s5', 35), 'E': ('rtdetr-focal', 42)}


def read(root, variant):
    return Config.fromfile(root / f'configs/rt_detr/ablations/{VARIANTS[variant][0]}_r50vd_8xb2-12e_coco.py')


def make_small(root, variant):
    """The variant's encoder in a model of 32 channels."""
    model = read(root, variant).model
    first, *further = copy.deepcopy(list(model.neck))
    first.update(in_channels=[16, 32, 64])
    small = Config.fromfile(root / 'configs/rt_detr/rtdetr_nano_shapes.py')
    small.merge_from_dict(dict(model=dict(
        backbone=dict(base_channels=8), embed_dims=32, query_selection=dict(num_queries=20),
        decoder=dict(layer=dict(feedforward_dims=32)))))
    for part in (first, *further):
        part.update({'out_channels' if part.type == 'ChannelMapper' else 'embed_dims': 32})
        if part is not first:
            part.update(in_channels=[32] * 3)
    small.model.neck = [first, *further]
    if 'encoder' in model:
        small.model.encoder = dict(model.encoder, feedforward_dims=32)
    torch.manual_seed(0)
    return build_model(small)


def make_feats(channels=(8, 16, 24)):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, c, h, w, generator=generator)
                 for c, h, w in zip(channels, (8, 4, 2), (12, 6, 3), strict=True))


@pytest.mark.parametrize('variant', VARIANTS)
def test_one_training_step(pytestconfig, variant):
    model = make_small(pytestconfig.rootpath, variant).train()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert [tuple(feat.shape) for feat in model.extract_feat(images)] == [
        (2, 32, 8, 12), (2, 32, 4, 6), (2, 32, 2, 3)]
    samples = [DetDataSample(), DetDataSample()]
    for sample, count in zip(samples, (2, 0), strict=True):
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0], [30.0, 10.0, 60.0, 50.0]])[:count],
            labels=torch.tensor([1, 4])[:count])
    losses = model.loss(images, samples)
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    assert not [name for name, parameter in model.named_parameters()
                if parameter.grad is None or not torch.isfinite(parameter.grad).all()]


def test_parameters_are_those_of_the_paper(pytestconfig):
    """Only the encoders are built; the rest of the model is that of `rtdetr_r50vd`, whose number the metafile has."""
    def encoder(variant):
        model = read(pytestconfig.rootpath, variant).model
        parts = [*model.neck, *([model.encoder | dict(embed_dims=256, num_levels=3)] if 'encoder' in model else [])]
        return sum(p.numel() for part in parts for p in MODELS.build(part).parameters())

    rest = 42_891_372 - encoder('E')
    assert {name: (rest + encoder(name)) // 10**6 for name in VARIANTS} == {
        name: millions for name, (_, millions) in VARIANTS.items()}


def test_variants_differ_in_the_encoder_alone(pytestconfig):
    official = read(pytestconfig.rootpath, 'E').to_dict()
    for variant in VARIANTS:
        config = read(pytestconfig.rootpath, variant).to_dict()
        assert config['train_cfg']['max_epochs'] == 12
        for key in ('neck', 'encoder'):
            config['model'].pop(key, None)
        assert config == official | dict(model={k: v for k, v in official['model'].items() if k != 'neck'})


def test_levels_attend_to_themselves_alone():
    """Only the named levels change with attention, by the same layer, and none depends on another level."""
    encoder = IntraScaleEncoder(in_channels=[8, 16, 24], attention_levels=[0, 2], embed_dims=32,
                                feedforward_dims=64).eval()
    feats = make_feats()
    with torch.no_grad():
        outs = encoder(feats)
        others = encoder((feats[0], feats[1], feats[2] + 1))
        projected = [proj(feat) for proj, feat in zip(encoder.input_proj, feats, strict=True)]
        alone = encoder._attend(projected[0])
    assert torch.equal(outs[1], projected[1])
    assert torch.equal(outs[0], alone) and not torch.equal(outs[0], projected[0])
    assert torch.equal(outs[0], others[0]) and not torch.equal(outs[2], others[2])


def test_paths_of_variant_d_reach_every_level():
    encoder = PathAggregationEncoder(in_channels=[8, 16, 24], attention_levels=[2], embed_dims=32, feedforward_dims=64)
    for level in range(3):
        feats = [feat.requires_grad_() for feat in make_feats()]
        encoder(tuple(feats))[level].square().sum().backward()
        assert all(feat.grad.abs().sum() > 0 for feat in feats)


def test_hybrid_encoder_is_attention_on_the_coarsest_level_and_ccfm():
    """Bit for bit; the same initial values as well, drawn in the order of the parts."""
    torch.manual_seed(0)
    encoder = HybridEncoder(in_channels=[8, 16, 24], embed_dims=32, feedforward_dims=64).eval()
    torch.manual_seed(0)
    intra = IntraScaleEncoder(in_channels=[8, 16, 24], attention_levels=[2], embed_dims=32, feedforward_dims=64).eval()
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in intra.state_dict().items())
    lateral, top_down, down, bottom_up = (
        encoder.lateral_convs, encoder.fpn_blocks, encoder.downsample_convs, encoder.pan_blocks)

    def join(block, low, high):
        return block(torch.cat([low, high], 1))

    with torch.no_grad():
        s3, s4, f5 = intra(make_feats())
        f5 = lateral[0](f5)
        f4 = lateral[1](join(top_down[0], F.interpolate(f5, scale_factor=2.0), s4))
        p3 = join(top_down[1], F.interpolate(f4, scale_factor=2.0), s3)
        p4 = join(bottom_up[0], down[0](p3), f4)
        expected = (p3, p4, join(bottom_up[1], down[1](p4), f5))
        actual = encoder(make_feats())
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_wrong_level_is_named():
    with pytest.raises(ValueError, match=r'attention_levels=\[2, 3\] names \[3\], but in_channels has levels 0 to 2'):
        IntraScaleEncoder(in_channels=[8, 16, 24], attention_levels=[2, 3], embed_dims=32)
