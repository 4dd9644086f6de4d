# LVIS v1 with boxes and masks, as MMDetection trains on it: rare classes oversampled, shorter side 640 to 800.
# Needs the lvis package, see data/README.md.
_base_ = 'mmdet::_base_/datasets/lvis_v1_instance.py'
