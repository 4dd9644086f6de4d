# Conditional DETR on the one level of a TNT-Small, stride 16; the paper has it under DETR. Its table of positions is
# for one size of images, here 640 x 640 to keep it small, which is not the paper's: images are made to fit and
# padded.
_base_ = '../conditional_detr/conditional-detr_r50_8xb2-50e_coco.py'

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),  # as in the backbone's pretraining
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tnt_s_patch16_224',
        pretrained=True,
        strides=(16,),
        img_size=(640, 640),
        out_norm=True),
    neck=dict(in_channels=[384]))

resize = dict(_base_.test_pipeline[1], scale=(640, 640))
train_dataloader = dict(dataset=dict(pipeline=[
    *_base_.train_pipeline[:3], resize, _base_.train_pipeline[-1]]))
val_dataloader = dict(dataset=dict(pipeline=[
    _base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]))
test_dataloader = val_dataloader

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
