"""Key map from the official Relation-DETR checkpoints, and from those of its DINO++."""

from torch import nn

from detrove.checkpoints import add_no_object_row, register_converter, rename_keys
from detrove.checkpoints.deformable_layout import mark_extra_levels

KEY_MAP = (
    (r'_classes_$', None),  # names of the classes, as character codes
    (r'neck\.convs\.extra(\d+)\.0\.', r'neck.extra_convs.\1.conv.'),
    (r'neck\.convs\.extra(\d+)\.1\.', r'neck.extra_convs.\1.gn.'),
    (r'neck\.convs\.(\d+)\.0\.', r'neck.convs.\1.conv.'),
    (r'neck\.convs\.(\d+)\.1\.', r'neck.convs.\1.gn.'),
    (r'transformer\.level_embeds$', 'encoder.level_embedding'),
    (r'transformer\.encoder\.memory_fusion\.0\.', 'encoder.fusion.linear1.'),
    (r'transformer\.encoder\.memory_fusion\.2\.', 'encoder.fusion.linear2.'),
    (r'transformer\.encoder\.memory_fusion\.3\.', 'encoder.fusion.norm.'),
    (r'transformer\.encoder\.layers\.', 'encoder.layers.'),
    (r'transformer\.tgt_embed\.', 'query_selection.content.'),
    (r'transformer\.enc_output\.', 'query_selection.output_proj.'),
    (r'transformer\.enc_output_norm\.', 'query_selection.output_norm.'),
    (r'transformer\.encoder_class_head\.', 'query_selection.class_head.'),
    (r'transformer\.encoder_bbox_head\.', 'query_selection.bbox_head.'),
    (r'transformer\.hybrid_tgt_embed\.', 'one_to_many.selection.content.'),
    (r'transformer\.hybrid_class_head\.', 'one_to_many.selection.class_head.'),
    (r'transformer\.hybrid_bbox_head\.', 'one_to_many.selection.bbox_head.'),
    # here the norms are numbered as they come: the self-attention's is the first
    (r'transformer\.decoder\.layers\.(\d+)\.norm1\.', r'decoder.layers.\1.norm2.'),
    (r'transformer\.decoder\.layers\.(\d+)\.norm2\.', r'decoder.layers.\1.norm1.'),
    (r'transformer\.decoder\.layers\.', 'decoder.layers.'),
    (r'transformer\.decoder\.norm\.', 'decoder.norm.'),
    (r'transformer\.decoder\.ref_point_head\.', 'decoder.position.mlp.'),
    (r'transformer\.decoder\.query_scale\.', 'decoder.position.scale.'),
    (r'transformer\.decoder\.position_relation_embedding\.pos_proj\.0\.', 'decoder.relation.proj.'),
    (r'transformer\.decoder\.class_head\.', 'bbox_head.class_heads.'),
    (r'transformer\.decoder\.bbox_head\.', 'bbox_head.bbox_heads.'),
    (r'denoising_generator\.label_encoder\.', 'denoising.label_embedding.'),
)


BACKBONE_KEY_MAP = ((r'backbone\.0\.', 'backbone.'), (r'backbone\.1\.norm', 'backbone.norm'))  # Swin and FocalNet


@register_converter('Relation-DETR (xiuqhou/Relation-DETR)',
                    marks=('transformer.tgt_embed.weight', 'transformer.encoder_class_head.weight',
                           'denoising_generator.label_encoder.weight',
                           'transformer.decoder.position_relation_embedding.pos_proj.0.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename and reshape the entries of an official state dict in place."""
    convert_backbone(state_dict)
    mark_extra_levels(state_dict, neck='neck.convs')
    rename_keys(state_dict, KEY_MAP)
    relation = 'decoder.relation.proj.weight'
    state_dict[relation] = state_dict[relation].flatten(1)  # a 1x1 convolution there
    labels = 'denoising.label_embedding.weight'
    add_no_object_row(state_dict, labels, len(state_dict[labels]))


def convert_backbone(state_dict: dict) -> None:
    """Move an official Swin or FocalNet to `backbone.` in place; a ResNet stands there.

    Swin has torchvision's names, which the one here reads.
    """
    rename_keys(state_dict, BACKBONE_KEY_MAP)
