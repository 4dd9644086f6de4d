# The paper's encoder variant C: one multi-scale transformer layer over all levels together, deformable as in DINO
_base_ = './rtdetr-encoder-a_r50vd_8xb2-12e_coco.py'

model = dict(encoder=dict(type='DeformableEncoder', num_layers=1, num_heads=8, feedforward_dims=1024))
