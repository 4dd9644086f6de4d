"""detrove's version, and the range of each OpenMMLab package it was tested with. setup.py reads both."""

__version__ = '0.1.0'

#: distribution -> (lowest tested, first untested). The onedl forks are what `pip install detrove` brings.
ONEDL = {
    'onedl-mmengine': ('0.10.12', '0.11'),
    'onedl-mmcv': ('2.3.6', '2.4'),
    'onedl-mmdetection': ('3.5.1', '3.6'),
    'onedl-mmsegmentation': ('1.4.2', '1.5'),
    'onedl-mmpretrain': ('1.3.6', '1.4'),
}

#: The same packages under OpenMMLab's own names, used where a person has installed those instead.
OPENMMLAB = {
    'mmengine': ('0.10.7', '0.11'),
    'mmcv': ('2.1.0', '2.2'),
    'mmcv-lite': ('2.1.0', '2.2'),
    'mmdet': ('3.3.0', '3.4'),
    'mmsegmentation': ('1.2.2', '1.3'),
    'mmpretrain': ('1.2.0', '1.3'),
}
