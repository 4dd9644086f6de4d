"""Reading checkpoints: safely, and other projects' as if they were our own."""

from .class_names import ClassRows, match_classes
from .class_rows import COCO_CATEGORY_IDS, add_no_object_row, select_coco_rows
from .conversion import convert_file, convert_while_loading, register_converter, rename_keys
from .loading import LoadReport, load_weights, read_checkpoint, unwrap_state_dict
from .pretrained import load_pretrained

__all__ = [
    'COCO_CATEGORY_IDS', 'ClassRows', 'LoadReport', 'add_no_object_row', 'convert_file', 'convert_while_loading',
    'load_pretrained', 'load_weights', 'match_classes', 'read_checkpoint', 'register_converter', 'rename_keys',
    'select_coco_rows', 'unwrap_state_dict',
]
