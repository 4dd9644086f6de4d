# "CSWin (fix sw=1)" of the paper's table 8; the last stage attends to its whole map, whatever its number
_base_ = '../cswin-tiny_semantic-fpn_4xb4-80k_ade20k-512x512.py'

model = dict(backbone=dict(split_size=(1, 1, 1, 7)))
