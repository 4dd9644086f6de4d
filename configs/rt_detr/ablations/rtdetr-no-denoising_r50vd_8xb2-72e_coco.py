# RT-DETR without denoising queries
_base_ = '../rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(denoising=None)
