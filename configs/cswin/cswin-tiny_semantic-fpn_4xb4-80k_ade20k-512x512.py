# The authors' code for it is not public. From the paper (appendix on experimental settings): AdamW, its rate and decay,
# 4 GPUs with 4 images each; how the rate falls is from PVT, whose setting it follows. Drop path as for COCO, it names
# none.
_base_ = [
    '../_base_/models/semantic-fpn.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_80k.py',
]

weights = 'https://github.com/microsoft/CSWin-Transformer/releases/download/v0.1.0/'
model = dict(
    backbone=dict(
        type='CSWin',
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'cswin_tiny_224.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]))
