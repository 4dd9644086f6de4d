import pytest
import torch
from mmdet.registry import DATASETS, HOOKS, TRANSFORMS
from mmengine.dataset import BaseDataset
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import Runner
from torch import nn

from detrove.engine.hooks.stop_augmentation import StopAugmentation


@TRANSFORMS.register_module()
class MarkAsAugmented:
    def __call__(self, results):
        return {**results, 'augmented': 1}


@TRANSFORMS.register_module()
class PackNumber:
    def __call__(self, results):
        return dict(inputs=torch.tensor([float(results.get('augmented', 0))]))


@DATASETS.register_module()
class FourNumbers(BaseDataset):
    def load_data_list(self):
        return [dict(value=index) for index in range(4)]


class Doubled(nn.Module):
    def forward(self, inputs):
        return inputs * 2


class Preprocessor(BaseDataPreprocessor):
    def __init__(self):
        super().__init__()
        self.batch_augments = nn.ModuleList([Doubled(), nn.Identity()])

    def forward(self, data, training=False):
        inputs = torch.stack(super().forward(data)['inputs'])
        for augment in self.batch_augments:
            inputs = augment(inputs)
        return dict(inputs=inputs)


class Recorder(BaseModel):
    """Keeps the sum of what it saw in each epoch."""

    def __init__(self):
        super().__init__(data_preprocessor=Preprocessor())
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, inputs, mode='tensor'):
        self.seen.append(inputs.mean().item())
        return dict(loss=self.weight.sum())


PLAIN = dict(
    type='mmdet.FourNumbers', pipeline=[dict(type='mmdet.MarkAsAugmented'), dict(type='mmdet.PackNumber')]
)
WRAPPED = dict(type='RepeatDataset', times=1, dataset=dict(type='ConcatDataset', datasets=[PLAIN]))


def train(
    tmp_path,
    dataset,
    after,
    *,
    workers=0,
    epochs=4,
    train_cfg=None,
    transforms=('MarkAsAugmented', 'Doubled'),
):
    model = Recorder()
    Runner(
        model,
        str(tmp_path),
        experiment_name=f'stop_{tmp_path.name}',
        train_dataloader=dict(
            dataset=dataset,
            batch_size=4,
            num_workers=workers,
            persistent_workers=workers > 0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[StopAugmentation(after=after, transforms=transforms)],
        default_hooks=dict(checkpoint=None, logger=None),
    ).train()
    return model.seen


@pytest.mark.parametrize('dataset', [PLAIN, WRAPPED], ids=['plain', 'wrapped'])
@pytest.mark.parametrize(
    'after, expected', [(0.75, [2, 2, 2, 0]), (0.5, [2, 2, 0, 0]), (1, [2, 2, 2, 2]), (0, [0] * 4)]
)
def test_stops_after_the_fraction_of_epochs(tmp_path, dataset, after, expected):
    assert train(tmp_path, dataset, after) == expected


def test_persistent_workers_stop_too(tmp_path):
    assert train(tmp_path, PLAIN, 0.5, workers=1) == [2, 2, 0, 0]


def test_unknown_name_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"\['RandomZoomOut'\].*MarkAsAugmented"):
        train(tmp_path, PLAIN, 0.5, transforms=('MarkAsAugmented', 'RandomZoomOut'))


def test_counting_iterations_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='by epochs'):
        train(tmp_path, PLAIN, 0.5, train_cfg=dict(by_epoch=False, max_iters=4))


def test_registered_and_takes_a_fraction():
    assert HOOKS.get('StopAugmentation') is StopAugmentation

    with pytest.raises(ValueError, match='fraction'):
        StopAugmentation(after=71, transforms=('RandomZoomOut',))
