# The small RT-DETR without denoising.
_base_ = '../rtdetr_nano_shapes.py'

model = dict(denoising=None)
