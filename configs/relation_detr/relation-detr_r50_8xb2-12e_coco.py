# The file that the other configs here inherit from.
_base_ = ['./_base_/relation-detr_r50.py', '../_base_/datasets/coco_detr.py', '../_base_/default_runtime.py']

# The official list leaves out images without objects.
train_dataloader = dict(
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(filter_cfg=dict(filter_empty_gt=True)))
