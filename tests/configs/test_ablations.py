"""The ablations of the papers that have no test of their own differ from their bases by what their names say."""

from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2] / 'configs'
DEFORMABLE_DETR = {'one_to_many', 'encoder.dropout', 'query_selection.content', 'decoder.look_forward_twice',
                   'decoder.layer.dropout'}
H_DETR = {'no-one-to-many': {'one_to_many'}, 'deformable-detr': DEFORMABLE_DETR}
STRIPES = dict.fromkeys(('stripes-1', 'stripes-2'), {'backbone.split_size'})
LAYER = 'panoptic_head.transformer_decoder.layer_cfg'
# base, with * where the name of an ablation says what changes -> the changes, with the keys of the model
CHANGES = {
    'conditional_detr/conditional-detr*_r50_8xb2-12e_coco': {
        '100-queries': {'query_selection.num_queries'},
        '3-decoder-layers': {'decoder.num_layers'},
        'linear-points': {'query_selection.point_layers'}},
    'cswin/mask-rcnn_cswin-tiny*_fpn_1x_coco': STRIPES,
    'cswin/cswin-tiny*_semantic-fpn_4xb4-80k_ade20k-512x512': STRIPES,
    'dab_detr/dab-detr*_r50_8xb2-50e_coco': {
        '3-decoder-layers': {'decoder.num_layers'},
        'no-anchor-update': {'decoder.refine_boxes'},
        'no-modulation': {'decoder.spatial_query.modulated'},
        'no-temperature': {'encoder.temperature'}},
    'dinat/mask-rcnn_dinat-tiny*_fpn_ms-3x_coco': dict.fromkeys(
        ('8-4-2-1', '16-8-4-2', 'maximum', 'dilated-first', 'all-dilated'), {'backbone.dilations'}),
    'dino/dino-4scale*_r50_8xb2-12e_coco': {
        'no-denoising': {'denoising'},
        'no-look-forward-twice': {'decoder.look_forward_twice'},
        'pure-selection': {'query_selection.content'}},
    'h_detr/h-detr*_r50_8xb2-12e_coco': H_DETR,
    'h_detr/h-detr*_r50_8xb2-36e_coco': H_DETR,
    'mask2former/ablations/mask2former*_r50_8xb2-lsj-50e_coco': {
        '50-queries': {'panoptic_head.num_queries'},
        '200-queries': {'panoptic_head.num_queries'},
        '6-decoder-layers': {'panoptic_head.transformer_decoder.num_layers'},
        'dropout': {f'{LAYER}.self_attn_cfg.dropout', f'{LAYER}.cross_attn_cfg.dropout', f'{LAYER}.ffn_cfg.ffn_drop'}},
    'swin/mask-rcnn_swin-tiny*_fpn_ms-1x_coco': {
        'no-drop-path': {'backbone.drop_path_rate'},
        'no-output-norms': {'backbone.out_norm'},
        'window-12': {'backbone.window_size'}},
}


def ablation(base, change):
    paper, name = base.split('/')[0], base.split('/')[-1]
    return f'{paper}/ablations/{name.replace("*", f"-{change}")}'


ABLATIONS = {ablation(base, change): (base.replace('*', ''), keys)
             for base, changes in CHANGES.items() for change, keys in changes.items()}


@cache  # several have the same base
def read(name):
    return Config.fromfile(ROOT / f'{name}.py', import_custom_modules=False)


def test_there_are_no_others():
    found = {file.relative_to(ROOT).with_suffix('').as_posix() for paper in {base.split('/')[0] for base in CHANGES}
             for file in (ROOT / paper / 'ablations').glob('*.py')}
    bases = {base for base, _ in ABLATIONS.values() if '/ablations/' in base}
    assert found == {*ABLATIONS, *bases}


@pytest.mark.parametrize('name', ABLATIONS)
def test_only_what_the_name_says_changes(name):
    base, changed = ABLATIONS[name]
    ours, theirs = read(name), read(base)
    differing = {key for key in ours if key != 'model' and ours[key] != theirs[key]}
    assert differing == set()
    assert set(differences(ours.model, theirs.model)) == changed


def differences(ours, theirs, prefix=''):
    for key in {*ours, *theirs}:
        one, other = ours.get(key), theirs.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(one, other, f'{prefix}{key}.')
        elif one != other:
            yield prefix + key
