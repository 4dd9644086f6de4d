# Two-stage. Official: configs/r50_deformable_detr_plus_iterative_bbox_refinement_plus_plus_two_stage.sh
_base_ = './deformable-detr-refine_r50_16xb2-50e_coco.py'

model = dict(
    query_selection=dict(
        _delete_=True,
        type='TopKQuerySelection',
        num_queries=300,
        content='position',
        fixed_position=True,
        class_agnostic=True,
        supervise='all'),
    bbox_head=dict(size_bias=0.0))

optim_wrapper = dict(
    paramwise_cfg=dict(groups=[
        dict(match=r'^backbone\.', lr_mult=0.1),
        dict(match=r'sampling_offsets', lr_mult=0.1),
    ]))
