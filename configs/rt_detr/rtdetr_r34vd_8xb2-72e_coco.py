# Official: rtdetr_r34vd_6x_coco.yml
_base_ = './rtdetr_r18vd_8xb2-72e_coco.py'

model = dict(
    backbone=dict(
        depth=34,
        init_cfg=dict(checkpoint=_base_.backbone_url + 'ResNet34_vd_pretrained_from_paddle.pth')),
    decoder=dict(num_layers=4))
