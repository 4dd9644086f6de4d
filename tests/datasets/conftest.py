"""Small data sets to break, for the checks of detrove.datasets.check."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from detrove.datasets.check import check_data

SIZE_WH = (64, 48)
NUMBERS = {'train': 4, 'val': 2}
ORDINARY = 'coco.images-without-objects'


class CocoFolder:
    """Images and json files of two splits: two objects on every image but the last, classes cat and dog."""

    def __init__(self, root):
        self.root = root
        rng = np.random.default_rng(0)
        for split, number in NUMBERS.items():
            (root / split).mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 255, (*SIZE_WH[::-1], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / f'{split}{index}.jpg')
            self.write(split, self._content(split, number))

    @staticmethod
    def _content(split, number):
        images = [dict(id=i + 1, file_name=f'{split}{i}.jpg', width=SIZE_WH[0], height=SIZE_WH[1])
                  for i in range(number)]
        annotations = [
            dict(id=2 * i + j + 1, image_id=i + 1, category_id=7 - 4 * j, bbox=[4 + 20 * j, 5 + i, 16, 12],
                 area=192, iscrowd=0, segmentation=[[4, 5, 20, 5, 20, 17, 4, 17]])
            for i in range(number - 1) for j in range(2)]
        return dict(images=images, annotations=annotations, categories=[dict(id=3, name='cat'), dict(id=7, name='dog')])

    def write(self, split, content):
        (self.root / f'{split}.json').write_text(json.dumps(content))

    def read(self, split='train'):
        return json.loads((self.root / f'{split}.json').read_text())

    def change(self, function, split='train'):
        """`function` changes the content in place."""
        content = self.read(split)
        function(content)
        self.write(split, content)

    def change_object(self, place=0, split='train', **values):
        self.change(lambda content: content['annotations'][place].update(values), split)

    def config(self, **settings):
        """A config of both splits; `settings` go into both data sets."""
        def dataset(split):
            return dict(dict(type='CocoDetection', data_root=str(self.root), ann_file=f'{split}.json',
                             data_prefix=dict(img=split), metainfo=dict(classes=('dog', 'cat')), pipeline=[]),
                        **settings)

        head = dict(type='DETRHead', num_classes=2)
        loaders = {f'{split}_dataloader': dict(dataset=dataset(split)) for split in NUMBERS}
        evaluator = dict(type='CocoEvaluation', ann_file=str(self.root / 'val.json'))
        return Config(dict(default_scope='mmdet', model=dict(type='DETR', bbox_head=head), val_evaluator=evaluator,
                           **loaders))

    def find(self, **settings):
        """Findings of the config with these settings, by kind."""
        return by_kind(check_data(self.config(**settings)))


def by_kind(report):
    """Findings by kind, without the note on images without objects: every set here has one in each split."""
    findings = {}
    for finding in report.all_findings:
        assert finding.message and finding.where and finding.count >= 1 and len(finding.examples) <= 3
        assert finding.fix or finding.severity.value != 'error', finding
        assert finding.kind not in findings or finding.kind == ORDINARY, 'said twice'
        findings[finding.kind] = finding
    return {kind: finding for kind, finding in findings.items() if kind != ORDINARY}


@pytest.fixture
def coco_folder(tmp_path):
    return CocoFolder(tmp_path / 'mine')
