# DINO without denoising queries
_base_ = '../dino-4scale_r50_8xb2-12e_coco.py'

model = dict(denoising=None)
