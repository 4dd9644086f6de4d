# RT-DETR for the 12 epochs of the paper's ablations of encoder and query selection
_base_ = '../rtdetr_r50vd_8xb2-72e_coco.py'

train_cfg = dict(max_epochs=12)
