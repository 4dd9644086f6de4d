# Official: segmentation/configs/dinat_s/upernet_dinat_s_small_512x512_160k_ade20k.py
_base_ = './dinat-s-tiny_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(arch='s_small', init_cfg=dict(checkpoint=_base_.weights + 'dinat_s_small_in1k_224.pth')))
