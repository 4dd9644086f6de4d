# DAB-DETR R50. Official: main.py -m dab_detr --epochs 50 --lr_drop 40
_base_ = '../conditional_detr/conditional-detr_r50_8xb2-50e_coco.py'

model = dict(
    encoder=dict(activation='prelu', dropout=0.0, scaled=True, temperature=20.0),
    query_selection=dict(
        _delete_=True, type='LearnedQueries', num_queries=300, reference='anchor', learned_content=False),
    decoder=dict(
        position=dict(_delete_=True, type='SineBoxPosition', relative_to_input=False),
        spatial_query=dict(modulated=True),
        refine_boxes=True,
        look_forward_twice=True,
        eps=1e-3,
        layer=dict(activation='prelu', dropout=0.0)),
    matcher=dict(iou_eps=1e-6),
    criterion=dict(weight_class=1.0, iou_eps=1e-6),
    test_cfg=dict(max_per_img=300))
