# The paper's encoder variant D_S5: D with attention on the coarsest level alone
_base_ = './rtdetr-encoder-d_r50vd_8xb2-12e_coco.py'

model = dict(neck=[dict(_base_.model.neck[0], attention_levels=[2]), _base_.model.neck[1]])
