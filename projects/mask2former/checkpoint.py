"""Official checkpoints, in detectron2's layout, read as those of MMDetection's head."""

import torch
from torch import Tensor, nn

from detrove.checkpoints import register_converter, rename_keys

# below `sem_seg_head` there -> below the head here
HEAD = (
    (r'pixel_decoder\.input_proj\.(\d+)\.0\.', r'pixel_decoder.input_convs.\1.conv.'),
    (r'pixel_decoder\.input_proj\.(\d+)\.1\.', r'pixel_decoder.input_convs.\1.gn.'),
    (r'pixel_decoder\.transformer\.level_embed$', 'pixel_decoder.level_encoding.weight'),
    (r'pixel_decoder\.transformer\.encoder\.', 'pixel_decoder.encoder.'),
    (r'pixel_decoder\.adapter_1\.norm\.', 'pixel_decoder.lateral_convs.0.gn.'),
    (r'pixel_decoder\.adapter_1\.', 'pixel_decoder.lateral_convs.0.conv.'),
    (r'pixel_decoder\.layer_1\.norm\.', 'pixel_decoder.output_convs.0.gn.'),
    (r'pixel_decoder\.layer_1\.', 'pixel_decoder.output_convs.0.conv.'),
    (r'pixel_decoder\.mask_features\.', 'pixel_decoder.mask_feature.'),
    (r'predictor\.transformer_(\w+)_layers\.(\d+)\.', r'transformer_decoder.layers.\2.\1.'),
    (r'predictor\.decoder_norm\.', 'transformer_decoder.post_norm.'),
    (r'predictor\.static_query\.', 'query_feat.'),  # as the first files have it
    (r'predictor\.(query_feat|query_embed|level_embed)\.', r'\1.'),
    (r'predictor\.class_embed\.', 'cls_embed.'),
    (r'predictor\.mask_embed\.layers\.0\.', 'mask_embed.0.'),
    (r'predictor\.mask_embed\.layers\.1\.', 'mask_embed.2.'),
    (r'predictor\.mask_embed\.layers\.2\.', 'mask_embed.4.'),
)
# the same of layers, once they stand where they belong
ENCODER_LAYER, DECODER_LAYER = r'(pixel_decoder\.encoder\.layers\.\d+)\.', r'(transformer_decoder\.layers\.\d+)\.'
LAYERS = (
    (ENCODER_LAYER + r'norm1\.', r'\1.norms.0.'),
    (ENCODER_LAYER + r'norm2\.', r'\1.norms.1.'),
    (ENCODER_LAYER + r'linear1\.', r'\1.ffn.layers.0.0.'),
    (ENCODER_LAYER + r'linear2\.', r'\1.ffn.layers.1.'),
    (DECODER_LAYER + r'cross_attention\.norm\.', r'\1.norms.0.'),
    (DECODER_LAYER + r'self_attention\.norm\.', r'\1.norms.1.'),
    (DECODER_LAYER + r'ffn\.norm\.', r'\1.norms.2.'),
    (DECODER_LAYER + r'cross_attention\.multihead_attn\.', r'\1.cross_attn.attn.'),
    (DECODER_LAYER + r'self_attention\.self_attn\.', r'\1.self_attn.attn.'),
    (DECODER_LAYER + r'ffn\.linear1\.', r'\1.ffn.layers.0.0.'),
    (DECODER_LAYER + r'ffn\.linear2\.', r'\1.ffn.layers.1.'),
)

# Panoptic heads there number the classes as the data sets do, heads here number things first (COCO does so anyway). By
# the number of classes: those that are stuff.
STUFF = {
    19: range(11),  # Cityscapes
    150: (  # ADE20K
        0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60, 61, 63, 68, 77,
        79, 84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145),
}


@register_converter('Mask2Former (facebookresearch/Mask2Former)',
                    marks=('sem_seg_head.predictor.class_embed.weight', 'sem_seg_head.predictor.query_embed.weight',
                           'sem_seg_head.pixel_decoder.adapter_1.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official state dict in place, and put the classes of a panoptic one into our order."""
    is_panoptic = hasattr(model, 'panoptic_head') and model.panoptic_head.num_stuff_classes > 0
    head = 'panoptic_head' if hasattr(model, 'panoptic_head') else 'decode_head'
    rename_keys(state_dict, ((r'criterion\.', None), (r'sem_seg_head\.', f'{head}.')))
    rename_keys(state_dict, HEAD, f'{head}.')
    rename_keys(state_dict, LAYERS, f'{head}.')
    for name in (f'{head}.cls_embed.weight', f'{head}.cls_embed.bias') if is_panoptic else ():
        state_dict[name] = things_first(state_dict[name])


def things_first(rows: Tensor) -> Tensor:
    """Rows of a data set's classes and of 'no object' -> of things, of stuff, of 'no object'."""
    num_classes = len(rows) - 1
    stuff = STUFF.get(num_classes, ())
    things = [i for i in range(num_classes) if i not in stuff]
    return rows[torch.tensor([*things, *stuff, num_classes], device=rows.device)]
