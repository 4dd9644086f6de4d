# DAB-Deformable-DETR R50. Official: main.py -m dab_deformable_detr --epochs 50 --lr_drop 40
_base_ = '../deformable_detr/deformable-detr-refine_r50_16xb2-50e_coco.py'

model = dict(
    encoder=dict(feedforward_dims=2048, dropout=0.0),
    query_selection=dict(_delete_=True, type='LearnedQueries', num_queries=300, reference='anchor'),
    decoder=dict(
        position=dict(_delete_=True, type='SineBoxPosition', scaled=True),
        eps=1e-3,
        layer=dict(feedforward_dims=2048, dropout=0.0)),
    matcher=dict(iou_eps=1e-6),
    criterion=dict(weight_class=1.0, iou_eps=1e-6),
    test_cfg=dict(max_per_img=100))

optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(groups=[dict(match=r'^backbone\.', lr_mult=0.1)]))
auto_scale_lr = dict(base_batch_size=16)
