# As ade20k-semantic.py, on Cityscapes. Official: configs/cityscapes/semantic-segmentation
_base_ = 'mmseg::mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py'

# mmdet's layers, and this project's backbones
custom_imports = dict(imports=['mmdet.models', 'detrove.projects'], allow_failed_imports=False)
default_hooks = dict(progress=dict(type='ProgressHook'), summary=dict(type='SummaryHook'))

swin_url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'

# As the official code groups parameters: the backbone learns ten times slower; norms, tables of relative positions and
# embeddings of queries and levels do not decay.
optim_wrapper = dict(
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, groups=[
        dict(match=r'^backbone\..*(norm|relative_position_bias_table)', lr_mult=0.1, decay_mult=0.0),
        dict(match=r'^backbone\.', lr_mult=0.1),
        dict(match=r'norm|\.gn\.|query_embed|query_feat|level_embed', decay_mult=0.0),
    ]))

model = dict(type='Mask2FormerSegmentor')  # MMSegmentation's, which also reads official checkpoints
