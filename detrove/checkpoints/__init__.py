"""Reading checkpoints: safely, and other projects' as if they were our own."""

from .conversion import convert_file, convert_while_loading, register_converter, rename_keys
from .loading import LoadReport, load_weights, read_checkpoint, unwrap_state_dict

__all__ = ['LoadReport', 'convert_file', 'convert_while_loading', 'load_weights', 'read_checkpoint',
           'register_converter', 'rename_keys', 'unwrap_state_dict']
