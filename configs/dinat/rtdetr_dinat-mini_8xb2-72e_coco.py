# RT-DETR with DiNAT-Mini; no paper has the two together.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

weights = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet1k/'
model = dict(
    # images as in the backbone's pretraining
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='DiNAT',
        arch='mini',
        # The largest windows just fit into maps of 640 x 640 images, as the authors choose them for ADE20K.
        dilations=[[1, 20, 1], [1, 5, 1, 10], [1, 3, 1, 4, 1, 5], [1, 2, 1, 2, 1]],
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'dinat_mini_in1k_224.pth')),
    neck=[dict(_base_.model.neck[0], in_channels=[128, 256, 512]), _base_.model.neck[1]])

# No decay of norms and position biases, as the backbone was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*(norm|rpb)', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
