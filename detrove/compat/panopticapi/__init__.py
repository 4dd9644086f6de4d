"""What mmdet uses of COCO's `panopticapi`, which is on no package index, to train and to measure panoptic models.

``detrove_boot`` offers it under that name where the real package is missing. Preparing data sets takes more of the
package: `pip install git+https://github.com/cocodataset/panopticapi.git`.
"""
