# weights from ImageNet-22k
_base_ = './mask2former_swin-b_8xb2-lsj-50e_coco-panoptic.py'

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(checkpoint=_base_.swin_url + 'swin_large_patch4_window12_384_22k.pth')),
    panoptic_head=dict(num_queries=200, in_channels=[192, 384, 768, 1536]))

# one image on each of 16 GPUs, twice as long
train_dataloader = dict(batch_size=1)
max_iters = 737500
train_cfg = dict(max_iters=max_iters, dynamic_intervals=[(max_iters // 5000 * 5000 + 1, max_iters)])
param_scheduler = dict(end=max_iters, milestones=[655556, 710184])
