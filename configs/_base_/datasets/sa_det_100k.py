# SA-Det-100k (Hou et al. 2024): 100,000 images of SA-1B with objects of one class, the longer side 1333.
# https://huggingface.co/datasets/xiuqhou/SA-Det-100k, for research only; unpack it as data/README.md has COCO.
_base_ = './coco_detr.py'

data_root = 'data/sa_det_100k/'
metainfo = dict(_delete_=True, classes=('objects',))

train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
