# H-DETR without its second set of queries. Official: deformable-detr-baseline/12eps/r50_dp0_mqs_lft_deformable_detr_
# plus_iterative_bbox_refinement_plus_plus_two_stage.sh
_base_ = '../h-detr_r50_8xb2-12e_coco.py'

model = dict(one_to_many=None)
