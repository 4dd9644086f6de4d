# RT-DETRv2 R18 with 3 sampling points per level. Official: rtdetrv2_r18vd_sp3_120e_coco.yml
_base_ = './rtdetrv2_r18vd_8xb2-120e_coco.py'

model = dict(decoder=dict(layer=dict(num_points=3)))
