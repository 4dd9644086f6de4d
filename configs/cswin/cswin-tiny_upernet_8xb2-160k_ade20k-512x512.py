# Official: segmentation/configs/cswin/upernet_cswin_tiny.py
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

weights = 'https://github.com/microsoft/CSWin-Transformer/releases/download/v0.1.0/'
model = dict(
    backbone=dict(
        type='CSWin',
        arch='tiny',
        drop_path_rate=0.3,  # as in the official file; the paper says 0.2
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'cswin_tiny_224.pth')),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))

train_dataloader = dict(batch_size=2)

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    # The official rule looks for "norm", which the norm of the stem lacks in its name there: it decays.
    dict(match=r'^backbone\.stem\.norm\.'),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
