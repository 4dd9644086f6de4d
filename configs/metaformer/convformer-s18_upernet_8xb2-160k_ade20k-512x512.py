# UPerNet with ConvFormer-S18. All settings are Swin's, drop path is that of Swin-T (0.3). Norms stand behind the
# outputs, as in the detection code of PoolFormer, its predecessor.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='convformer_s18',
        pretrained=True,
        out_norm=True,
        drop_path_rate=0.3),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320))

train_dataloader = dict(batch_size=2)
