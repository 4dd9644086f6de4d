# DINO with pure instead of mixed query selection: the chosen tokens are the contents of the queries, too
_base_ = '../dino-4scale_r50_8xb2-12e_coco.py'

model = dict(query_selection=dict(content='memory'))
