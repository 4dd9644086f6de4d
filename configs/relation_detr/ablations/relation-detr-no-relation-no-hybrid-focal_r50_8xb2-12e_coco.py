# None of the paper's parts: its base line.
_base_ = './relation-detr-focal_r50_8xb2-12e_coco.py'

model = dict(decoder=dict(relation=None), one_to_many=None)
