# Mask2Former on COCO panoptic segmentation: MMDetection's, with this project's runtime. Files that inherit from this
# one set the backbone. Official: configs/coco/panoptic-segmentation of facebookresearch/Mask2Former
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py'

custom_imports = dict(imports=['detrove.projects'], allow_failed_imports=False)
default_hooks = dict(progress=dict(type='ProgressHook'), summary=dict(type='SummaryHook'))
visualizer = dict(type='ClippedDetVisualizer')

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

model = dict(type='Mask2FormerDetector')  # MMDetection's, which also reads official checkpoints
