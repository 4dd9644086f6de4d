"""Testing with augmented views of each image whose boxes are fused, where mmdet suppresses all but one."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.model import BaseTTAModel

from .fusion import fuse_boxes


@MODELS.register_module()
class FusedTTAModel(BaseTTAModel):
    """A detector that sees the views of a `TestTimeAug` pipeline; their boxes become one set, see `fuse_boxes`.

    Args:
        module: The detector or its config.
        max_per_img: Fused boxes that are kept, the best scored.
    """

    def __init__(self, module, max_per_img: int = 300):
        super().__init__(module)
        self.max_per_img = max_per_img

    def merge_preds(self, data_samples_list: Sequence[Sequence[DetDataSample]]) -> list[DetDataSample]:
        """One sample for each image, from those of its views; on the CPU."""
        return [self._merge(samples) for samples in data_samples_list]

    def _merge(self, samples: Sequence[DetDataSample]) -> DetDataSample:
        found = []
        for sample in samples:
            instances = sample.pred_instances.to('cpu')
            if sample.flip:
                instances.bboxes = bbox_flip(instances.bboxes, sample.ori_shape, sample.flip_direction)
            found.append(instances)
        samples[0].pred_instances = fuse_boxes(found)[:self.max_per_img]
        return samples[0]
