"""MMDetection's and MMSegmentation's Mask2Former, which also load the official checkpoints."""

from mmdet.models import Mask2Former
from mmengine.registry import MODELS
from mmseg.models import EncoderDecoder

from detrove.checkpoints import convert_while_loading

from . import checkpoint  # noqa: F401  registers the layout


@MODELS.register_module()
class Mask2FormerDetector(Mask2Former):
    """Panoptic and instance segmentation: MMDetection's `Mask2Former`, with its arguments."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.register_load_state_dict_pre_hook(convert_while_loading)


@MODELS.register_module()
class Mask2FormerSegmentor(EncoderDecoder):
    """Semantic segmentation: MMSegmentation's `EncoderDecoder` with a `Mask2FormerHead`, with its arguments."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.register_load_state_dict_pre_hook(convert_while_loading)
