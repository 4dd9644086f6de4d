"""The kinds of files that are fuzzed, and the share of each in a long run."""

from .annotations import annotation_files, cache_files
from .checkpoints import checkpoint_files
from .configs import config_files, safe_config_files
from .images import image_files
from .label_maps import label_map_files

KINDS = dict(
    annotations=annotation_files(), caches=cache_files(), images=image_files(), label_maps=label_map_files(),
    configs=config_files(), safe_configs=safe_config_files(), checkpoints=checkpoint_files())
#: Of a hundred cases.
SHARES = dict(annotations=25, caches=5, images=20, label_maps=10, configs=10, safe_configs=15, checkpoints=15)
