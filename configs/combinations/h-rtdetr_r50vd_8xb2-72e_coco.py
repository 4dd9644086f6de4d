# RT-DETR with H-DETR's one-to-many branch, whose queries follow the main ones in the encoder's ranking.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(one_to_many=dict(type='OneToManyBranch', num_queries=1500, targets_per_object=6, content='memory'))
