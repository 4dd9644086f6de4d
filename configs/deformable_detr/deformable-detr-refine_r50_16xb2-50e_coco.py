# With iterative bounding box refinement. Official: configs/r50_deformable_detr_plus_iterative_bbox_refinement.sh
_base_ = './deformable-detr_r50_16xb2-50e_coco.py'

model = dict(decoder=dict(refine_boxes=True), bbox_head=dict(shared=False))
