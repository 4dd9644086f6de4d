# The paper's base of ablations: Mask2Former R50, instance segmentation. Official: configs/coco/instance-segmentation/
# maskformer2_R50_bs16_50ep.yaml
_base_ = '../_base_/coco-instance.py'

# torchvision://resnet50, written out
weights = 'https://download.pytorch.org/models/resnet50-0676ba61.pth'
model = dict(backbone=dict(init_cfg=dict(checkpoint=weights)))

# The first group is for a backbone with layer norms; those of ResNet are frozen.
optim_wrapper = dict(paramwise_cfg=dict(groups=_base_.optim_wrapper.paramwise_cfg.groups[1:]))
