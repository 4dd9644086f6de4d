"""Label maps with values that are no classes, found before a loss meets them: on a GPU it ends without a name."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from detrove.datasets.label_map_file import check_labels
from detrove.engine.bare_model import bare_model


@HOOKS.register_module()
class LabelRangeHook(Hook):
    """Refuses a training batch of a segmentor that has a label map with an unknown value, by the name of its file."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        model = bare_model(runner.model)
        head = getattr(model, 'decode_head', None)
        head = head[-1] if hasattr(head, '__getitem__') else head
        if head is None or not isinstance(data_batch, dict):
            return
        for sample in data_batch.get('data_samples') or ():
            if 'gt_sem_seg' in sample:
                check_labels(sample.gt_sem_seg.data.numpy(), num_classes=max(head.num_classes, 2),
                             ignore_index=head.ignore_index, path=sample.metainfo.get('seg_map_path', 'a label map'))
