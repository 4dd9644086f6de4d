# The last stage of the backbone dilated instead of strided (DC5): four times as many tokens. Official:
# scripts/conddetr_r50dc5_epoch50.sh
_base_ = './conditional-detr_r50_8xb2-50e_coco.py'

model = dict(
    backbone=dict(
        type='mmseg.ResNet',  # dilates the first block of a stage less than the others, as torchvision does
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        contract_dilation=True))

train_dataloader = dict(batch_size=1)
auto_scale_lr = dict(base_batch_size=8)
