# Official, in SHI-Labs/Neighborhood-Attention-Transformer:
# mask2former/configs/ade20k/semantic-segmentation/dinat/maskformer2_dinat_large_IN21k_384_bs16_160k.yaml
_base_ = './mask2former_swin-l_8xb2-160k_ade20k-640x640.py'

dinat_url = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet22k/'
model = dict(backbone=dict(
    _delete_=True,
    type='DiNAT',
    arch='large',
    kernel_size=11,
    dilations='mask2former',
    drop_path_rate=0.3,
    # weights from ImageNet-22k, position biases of kernels of 7 interpolated to 11
    init_cfg=dict(type='Pretrained', checkpoint=dinat_url + 'dinat_large_in22k_224_11x11interp.pth')))
