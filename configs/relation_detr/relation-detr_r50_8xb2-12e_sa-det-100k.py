_base_ = ['./_base_/relation-detr_r50.py', '../_base_/datasets/sa_det_100k.py', '../_base_/default_runtime.py']

model = dict(bbox_head=dict(num_classes=1))

# The official list leaves out images without objects.
train_dataloader = dict(
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(filter_cfg=dict(filter_empty_gt=True)))
