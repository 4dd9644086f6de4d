# The authors' detection code is not public. The paper (appendix on experimental settings) gives AdamW, its rate and
# decay, the batch size, the image sizes, the milestones and drop paths of 0.1, 0.3 and 0.5 for T, S and B; what it
# leaves open (warm-up, betas, no decay of norms) is Swin's recipe, which it follows by its own account (section 4.2).
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x_adamw.py',
    '../_base_/default_runtime.py',
]

weights = 'https://github.com/microsoft/CSWin-Transformer/releases/download/v0.1.0/'
model = dict(
    backbone=dict(
        type='CSWin',
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'cswin_tiny_224.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]))
