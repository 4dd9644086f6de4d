# Settings from the paper, and where it leaves them open from Swin, see mask-rcnn_cswin-tiny_fpn_1x_coco.py; heads
# and the crop of half of the images are Swin's. The paper names no drop path of its own for this detector.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/3x_adamw.py',
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
