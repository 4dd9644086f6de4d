"""Training the last epochs without strong augmentation."""

from collections.abc import Iterator

from mmdet.registry import HOOKS
from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from detrove.engine.bare_model import bare_model


@HOOKS.register_module()
class StopAugmentation(Hook):
    """Removes the named transforms from the training pipeline for the last part of training.

    mmdet's ``PipelineSwitchHook`` wants an epoch's number and the second pipeline in full, and does nothing
    when the data set is inside a wrapper (concatenated, repeated); this one takes a fraction of
    ``max_epochs`` and names.

    Args:
        after: the fraction of the epochs, in [0, 1], after which the transforms stop, rounded to whole
            epochs.
        transforms: class names of transforms in the pipeline and of batch augmentations in the data
            preprocessor.

    Raises (when training starts):
        ValueError: training counts iterations, or a name is found nowhere.
    """

    def __init__(self, *, after: float, transforms: tuple[str, ...]):
        if not 0 <= after <= 1:
            raise ValueError(f'after is a fraction of max_epochs in [0, 1], got {after}')
        self.after = after
        self.transforms = frozenset(transforms)
        self._stopped = False

    def before_train(self, runner: Runner) -> None:
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f'StopAugmentation counts epochs, but the training loop is '
                f'{type(runner.train_loop).__name__}: remove the hook, or train by epochs.'
            )
        present = {
            type(transform).__name__
            for pipeline in _pipelines(runner.train_dataloader.dataset)
            for transform in pipeline.transforms
        }
        present |= {type(augment).__name__ for augment in _batch_augments(runner)}
        if not self.transforms <= present:
            raise ValueError(
                f'StopAugmentation is to stop {sorted(self.transforms - present)}, but training has only '
                f'{sorted(present)}. Correct `transforms` of the hook, or remove it.'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        if self._stopped or runner.epoch < round(self.after * runner.max_epochs):
            return
        self._stopped = True
        runner.logger.info(f'Training goes on without {", ".join(sorted(self.transforms))}.')
        loader = runner.train_dataloader
        for pipeline in _pipelines(loader.dataset):
            pipeline.transforms = [t for t in pipeline.transforms if type(t).__name__ not in self.transforms]
        if loader.persistent_workers:
            loader._iterator = None  # workers hold copies of the data set: the next epoch starts new ones
        augments = _batch_augments(runner)
        for index in reversed(range(len(augments))):
            if type(augments[index]).__name__ in self.transforms:
                del augments[index]


def _pipelines(dataset) -> Iterator[Compose]:
    """The pipelines of a data set and of those that it wraps."""
    if isinstance(getattr(dataset, 'pipeline', None), Compose):
        yield dataset.pipeline
    for inner in (
        *getattr(dataset, 'datasets', ()),
        *([dataset.dataset] if hasattr(dataset, 'dataset') else []),
    ):
        yield from _pipelines(inner)


def _batch_augments(runner: Runner) -> nn.ModuleList:
    model = bare_model(runner.model)
    return getattr(model.data_preprocessor, 'batch_augments', None) or nn.ModuleList()
