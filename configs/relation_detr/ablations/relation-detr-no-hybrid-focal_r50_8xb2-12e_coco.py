_base_ = './relation-detr-focal_r50_8xb2-12e_coco.py'

model = dict(one_to_many=None)
