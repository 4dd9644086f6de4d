"""Key map from the official Rank-DETR checkpoints, which are detrex's and detectron2's."""

from torch import nn

from detrove.checkpoints import register_converter, rename_keys
from detrove.checkpoints.deformable_layout import move_encoder_head

KEY_MAP = (
    # detectron2's ResNet
    (r'backbone\.stem\.conv1\.weight$', 'backbone.conv1.weight'),
    (r'backbone\.stem\.conv1\.norm\.', 'backbone.bn1.'),
    *((rf'backbone\.res{stage + 1}\.(\d+)\.{old}', rf'backbone.layer{stage}.\1.{new}') for stage in range(1, 5)
      for old, new in ((r'conv(\d)\.norm\.', r'bn\2.'), (r'conv(\d)\.weight$', r'conv\2.weight'),
                       (r'shortcut\.norm\.', 'downsample.1.'), (r'shortcut\.weight$', 'downsample.0.weight'))),
    (r'neck\.(convs|extra_convs)\.(\d+)\.norm\.', r'neck.\1.\2.gn.'),
    (r'transformer\.level_embeds$', 'encoder.level_embedding'),
    (r'transformer\.(encoder|decoder)\.layers\.(\d+)\.ffns\.0\.layers\.0\.0\.', r'\1.layers.\2.linear1.'),
    (r'transformer\.(encoder|decoder)\.layers\.(\d+)\.ffns\.0\.layers\.1\.', r'\1.layers.\2.linear2.'),
    *((rf'transformer\.(encoder|decoder)\.layers\.(\d+)\.norms\.{i}\.', rf'\1.layers.\2.norm{i + 1}.')
      for i in range(3)),
    (r'transformer\.encoder\.layers\.(\d+)\.attentions\.0\.', r'encoder.layers.\1.self_attn.'),
    (r'transformer\.decoder\.layers\.(\d+)\.attentions\.0\.attn\.', r'decoder.layers.\1.self_attn.'),
    (r'transformer\.decoder\.layers\.(\d+)\.attentions\.1\.', r'decoder.layers.\1.cross_attn.'),
    (r'transformer\.decoder\.rank_aware_content_query\.', 'decoder.ranking.embeddings.'),
    (r'transformer\.decoder\.pre_racq_trans\.', 'decoder.ranking.pre.'),
    (r'transformer\.decoder\.post_racq_trans\.', 'decoder.ranking.post.'),
    (r'transformer\.decoder\.(class|bbox)_embed\.', None),  # the heads below under a second name
    (r'transformer\.enc_output\.', 'query_selection.output_proj.'),
    (r'transformer\.enc_output_norm\.', 'query_selection.output_norm.'),
    (r'transformer\.pos_trans\.', 'query_selection.position_proj.'),
    (r'transformer\.pos_trans_norm\.', 'query_selection.position_norm.'),
    (r'class_embed\.', 'bbox_head.class_heads.'),
    (r'bbox_embed\.', 'bbox_head.bbox_heads.'),
    (r'rank_adaptive_classhead_emb\.', 'bbox_head.rank_logits.'),
)


@register_converter('Rank-DETR (LeapLabTHU/Rank-DETR)',
                    marks=('transformer.decoder.rank_aware_content_query.0.weight',
                           'rank_adaptive_classhead_emb.0.weight', 'query_embedding.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official state dict in place; the one table of content queries becomes one per branch."""
    rename_keys(state_dict, KEY_MAP)
    move_encoder_head(state_dict)
    content = state_dict.pop('query_embedding.weight')
    num_queries = model.query_selection.num_queries
    state_dict['query_selection.content.weight'] = content[:num_queries]
    if model.one_to_many is not None:
        state_dict['one_to_many.content.weight'] = content[num_queries:]

