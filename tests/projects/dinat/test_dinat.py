"""Sizes, dilations, checkpoints and attention of NAT and DiNAT."""

import copy
import gzip
import json

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from detrove.apis import build_model
from detrove.checkpoints import load_pretrained
from detrove.checkpoints.deterministic import deterministic_state_dict
from detrove.engine.optim import RegexOptimWrapperConstructor
from detrove.ops import neighborhood_attention
from detrove.projects.dinat import NAT, DiNAT, NeighborhoodAttention2d
from detrove.projects.dinat.dilations import block_dilations

SMALL = dict(embed_dims=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), mlp_ratio=2.0, layer_scale=1e-5, patches=False)

# of the official classification models, printed by their code, without the linear layer of 1000 classes
NUM_PARAMETERS = {
    (NAT, 'mini'): 19_471_174, (NAT, 'tiny'): 27_388_582, (NAT, 'small'): 49_974_297, (NAT, 'base'): 88_744_652,
    (DiNAT, 'mini'): 19_471_174, (DiNAT, 'tiny'): 27_388_582, (DiNAT, 'small'): 49_950_681,
    (DiNAT, 'base'): 88_744_652, (DiNAT, 'large'): 199_406_514, (DiNAT, 's_tiny'): 27_519_354,
    (DiNAT, 's_small'): 48_837_258, (DiNAT, 's_base'): 86_743_224, (DiNAT, 's_large'): 194_995_476,
}


def test_every_size_is_counted():
    assert set(NUM_PARAMETERS) == {(model, arch) for model in (NAT, DiNAT) for arch in model.archs}


@pytest.mark.parametrize(('model', 'arch'), NUM_PARAMETERS)
def test_number_of_parameters(model, arch):
    with torch.device('meta'):
        backbone = model(arch=arch, out_indices=(3,))
    assert sum(parameter.numel() for parameter in backbone.parameters()) == NUM_PARAMETERS[model, arch]


def test_kernel_of_eleven():
    with torch.device('meta'):
        backbone = DiNAT(arch='large', kernel_size=11, dilations='mask2former', out_indices=(3,))
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 199_607_250
    third = [block.attn.dilation for block in backbone.stages[2].blocks]
    assert third == [1, 2, 1, 3, 1, 2, 1, 3, 1, 2, 1, 3, 1, 2, 1, 3, 1, 3]


@pytest.mark.parametrize('dilations', ['imagenet', [[1], [1], [1], [1]], [[1], [1], [1, 0], [1]]])
def test_dilations_that_do_not_fit(dilations):
    with pytest.raises(ValueError, match='dilations'):
        block_dilations(dilations, (1, 1, 2, 1))


def test_one_dilation_for_all():
    assert block_dilations(3, (1, 2)) == [[3], [3, 3]]


@pytest.mark.parametrize('size_hw', [(6, 15), (15, 6), (5, 4)])
def test_padding_takes_part(size_hw):
    """A map smaller than the window attends to padding tokens of zeros, whose keys and values are the biases."""
    torch.manual_seed(0)
    attention = NeighborhoodAttention2d(8, num_heads=2, kernel_size=3, dilation=4).double()
    x = torch.randn(2, *size_hw, 8, dtype=torch.float64)
    padded = F.pad(x, (0, 0, 0, max(0, 12 - size_hw[1]), 0, max(0, 12 - size_hw[0])))
    query, key, value = attention.qkv(padded).reshape(*padded.shape[:3], 3, 2, 4).unbind(3)
    expected = neighborhood_attention(query, key, value, 3, 4, attention.rpb).flatten(3)
    expected = attention.proj(expected)[:, :size_hw[0], :size_hw[1]]
    torch.testing.assert_close(attention(x), expected)


@pytest.fixture
def official_classifier():
    """Weights of a small model with the official names of classification."""
    torch.manual_seed(0)
    weights = DiNAT(arch=SMALL, out_indices=(3,)).state_dict()
    names = {'stem': 'patch_embed', 'stages': 'levels', 'norm3': 'norm'}
    weights = {'.'.join([names[key.split('.')[0]], *key.split('.')[1:]]): value for key, value in weights.items()}
    return dict(weights, **{'head.weight': torch.zeros(10, 128), 'head.bias': torch.zeros(10)})


@pytest.mark.parametrize('wrapper', [None, 'state_dict', 'model'])
def test_pretrained_for_detection(tmp_path, official_classifier, wrapper):
    """Norms of outputs are new; the classifier and the norm before it are named."""
    torch.save({wrapper: official_classifier} if wrapper else official_classifier, tmp_path / 'nat.pth')
    backbone = NAT(arch=SMALL, out_indices=(1, 3))
    report = load_pretrained(backbone, dict(type='Pretrained', checkpoint=str(tmp_path / 'nat.pth')))
    assert set(report.unexpected) == {'head.weight', 'head.bias', 'norm.weight', 'norm.bias'}
    assert set(report.missing) == {'norm1.weight', 'norm1.bias', 'norm3.weight', 'norm3.bias'}
    assert torch.equal(backbone.stem.proj[0].weight, official_classifier['patch_embed.proj.0.weight'])


def test_pretrained_for_one_level(tmp_path, official_classifier):
    torch.save(official_classifier, tmp_path / 'nat.pth')
    report = load_pretrained(DiNAT(arch=SMALL, out_indices=(3,)),
                             dict(type='Pretrained', checkpoint=str(tmp_path / 'nat.pth')))
    assert set(report.unexpected) == {'head.weight', 'head.bias'} and not report.missing


def test_weights_of_transformers(request):
    path = request.config.rootpath / 'tests/data/dinat/keys_transformers_nat-small.json.gz'
    weights = deterministic_state_dict(json.loads(gzip.decompress(path.read_bytes())))
    backbone = NAT(arch='small', out_indices=(3,))
    loaded = backbone.load_state_dict(weights, strict=False)
    assert not loaded.missing_keys and set(loaded.unexpected_keys) == {'classifier.weight', 'classifier.bias'}
    block, theirs = backbone.stages[2].blocks[7], 'nat.encoder.levels.2.layers.7.'
    for ours, name in zip(block.attn.qkv.weight.chunk(3), ('query', 'key', 'value'), strict=True):
        assert torch.equal(ours, weights[f'{theirs}attention.self.{name}.weight'])
    assert torch.equal(block.attn.proj.bias, weights[f'{theirs}attention.output.dense.bias'])
    assert torch.equal(block.mlp.fc2.bias, weights[f'{theirs}output.dense.bias'])
    assert torch.equal(torch.stack([block.gamma1, block.gamma2]), weights[f'{theirs}layer_scale_parameters'])
    renamed = {f'di{key}': value for key, value in weights.items() if key.startswith('nat.')}
    backbone.load_state_dict(renamed)


def test_own_state_dict_stays(official_classifier):
    backbone = DiNAT(arch=SMALL)
    before = copy.deepcopy(backbone.state_dict())
    backbone.load_state_dict(before)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize('config', ['mask-rcnn_dinat-mini_fpn_ms-3x_coco',
                                    'dinat-mini_upernet_8xb2-160k_ade20k-512x512'])
def test_groups_without_decay(request, config):
    """Exactly the norms of the backbone and its position biases, as the official rule on names picks them."""
    config = Config.fromfile(request.config.rootpath / f'configs/dinat/{config}.py')
    with torch.device('meta'):
        model = build_model(config)
    wrapper = config.optim_wrapper
    groups = RegexOptimWrapperConstructor(wrapper, wrapper.paramwise_cfg).parameter_groups(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    (free,) = [group for group in groups if group.get('weight_decay') == 0]
    found = {names[id(parameter)] for parameter in free['params']}
    assert found == {name for name in names.values() if 'norm' in name or 'rpb' in name}
    assert all(name.startswith('backbone.') for name in found)
