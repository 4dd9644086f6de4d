"""Our models with official weights beside the official code's recorded outputs."""

import functools
import gzip
import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.checkpoints import conversion
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.engine.optim import RegexOptimWrapperConstructor
from detrove.layers import BatchTargets, memory
from detrove.ops.boxes import box_cxcywh_to_xyxy


class OfficialCase:
    """A model in double precision with the official weights, and what the official code gave in double precision.

    For the code base of Deformable DETR. tests/data/deformable_detr/README.md says how the references were made.
    """

    def __init__(self, root, paper, name, config, overrides):
        data = root / 'tests/data' / paper
        self.reference = np.load(data / f'reference_{name}.npz')
        config = Config.fromfile(root / 'configs' / paper / config)
        config.merge_from_dict({'model.bbox_head.num_classes': 91, **overrides})
        self.model = build_model(config)
        shapes = json.loads(gzip.decompress((data / f'keys_{name}.json.gz').read_bytes()))
        self.weights = deterministic_state_dict(shapes)
        names, owners = (self.reference[f'tied_{x}'].tolist() for x in ('names', 'owners'))
        self.owner = dict(zip(names, owners, strict=True))
        for name, owner in self.owner.items():
            self.weights[name] = self.weights[owner]
        # attention of plain DETRs tells tokens and queries apart only if some weights are larger, others smaller
        scaled = (self.reference.get(f'scaled_{x}', ()) for x in ('patterns', 'factors'))
        for pattern, factor in zip(*scaled, strict=True):
            chosen = [name for name in shapes if re.match(pattern, name)]
            self.weights.update({name: self.weights[name] * float(factor) for name in chosen})
        self.load_result = self.model.load_state_dict({'model': self.weights}, strict=True)
        self.model.double()
        self.model.encoder.register_forward_hook(lambda *args: setattr(self, 'memory', args[2]))

    def __getitem__(self, key):
        return torch.from_numpy(np.asarray(self.reference[key]))

    def decode(self, part, targets=None, dtype=torch.float64):
        """The recorded images of `part` through the model, with the recorded padding."""
        sizes_hw = [tuple(size) for size in self[f'{part}/valid_hw'].tolist()]
        images = deterministic_images(2, *self[f'{part}/size_hw'].tolist(), seed=int(self[f'{part}/seed'])).to(dtype)
        for image, (height, width) in zip(images, sizes_hw, strict=False):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return self.model.decode(images[:len(sizes_hw)], targets, sizes_hw)

    def detect(self, part):
        """Scores, labels and boxes in pixels of the original images."""
        self.model.eval()
        with torch.no_grad():
            outputs = self.decode(part)
        scores, labels, boxes_cxcywh = self.model.select_detections(outputs.decoder)
        scale_wh = self[f'{part}/original_hw'].flip(-1).repeat(1, 2)[:, None]
        return outputs, scores, labels, box_cxcywh_to_xyxy(boxes_cxcywh) * scale_wh

    def memory_samples(self, part):
        """(ours, official) samples of the encoder's output, of tokens in the images; padding is read by nobody."""
        index, expected = self[f'{part}/memory/sample_index'], self[f'{part}/memory/sample']
        tokens, padding = self.memory.tokens, self.memory.padding
        kept = slice(None) if padding is None else ~padding.flatten()[index // tokens.shape[-1]]
        return tokens.detach().flatten()[index][kept], expected[kept]

    def targets(self, part):
        labels = [self[f'{part}/labels{i}'].long() for i in range(2)]
        boxes = [self[f'{part}/boxes{i}_cxcywh'] for i in range(2)]
        counts = tuple(len(x) for x in labels)
        valid = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
        pad = torch.nn.utils.rnn.pad_sequence
        return BatchTargets(pad(labels, True), pad(boxes, True), valid, counts)

    def train(self, part):
        """Outputs and losses of one step, gradients left in the parameters."""
        self.model.train().zero_grad()
        targets = self.targets(part)
        outputs = self.decode(part, targets)
        losses = self.model.compute_losses(outputs, targets)
        sum(losses.values()).backward()
        return outputs, losses

    def optimiser_groups(self):
        """{(learning rate, weight decay): number of values}."""
        wrapper = self.model.cfg.optim_wrapper
        default = wrapper.optimizer.lr, wrapper.optimizer.weight_decay
        sizes = {}
        for group in RegexOptimWrapperConstructor(wrapper, wrapper.paramwise_cfg).parameter_groups(self.model):
            key = group.get('lr', default[0]), group.get('weight_decay', default[1])
            sizes.setdefault(key, []).append(sum(p.numel() for p in group['params']))
        return sizes

    def expected_losses(self, part):
        """Official losses, weighted, under our names."""
        names = (our_loss_name(str(name)) for name in self.reference[f'{part}/loss_names'])
        return dict(zip(names, self[f'{part}/loss_values'], strict=True))

    def gradient_norms(self, part):
        """(ours, official) by official parameter name; a table that we divide counts as one."""
        converted = dict(self.weights)
        conversion.find_converter(converted).convert(converted, self.model)
        parts_of = {}
        for name, value in converted.items():
            parts_of.setdefault(value.untyped_storage().data_ptr(), []).append(name)
        norms = {}
        for name, expected in zip(self.reference[f'{part}/grad_norm_names'].tolist(), self[f'{part}/grad_norm_values'],
                                  strict=True):
            ours = parts_of[self.weights[self.owner.get(name, name)].untyped_storage().data_ptr()]
            gradients = [self.model.get_parameter(one).grad.norm() for one in ours]
            norms[name] = torch.stack(gradients).norm(), expected
        return norms


def our_loss_name(official):
    """'loss_ce_1_one2many' -> 'o2m.d1.loss_cls' and so on."""
    kind, layer, many = re.fullmatch(r'(loss_[a-z]+)(?:_(enc|\d+))?(_one2many)?', official).groups()
    prefix = '' if layer is None else 'enc.' if layer == 'enc' else f'd{layer}.'
    return ('o2m.' if many else '') + prefix + kind.replace('_ce', '_cls')


@functools.cache
def _load_case(root, paper, name, config, overrides):
    return OfficialCase(root, paper, name, config, dict(overrides))


@pytest.fixture(scope='module', autouse=True)
def cases_are_freed(request):
    """Models that the tests of a file share do not stay for those of the next one: all together take 12 GB."""
    yield
    for function in (_load_case, *vars(request.module).values()):
        if hasattr(function, 'cache_clear'):
            function.cache_clear()


@pytest.fixture
def official_case(request, monkeypatch):
    """`official_case(paper, name, config, **overrides)`: an `OfficialCase`, its geometry in double precision as well.

    Our geometry is float32 in a model of any precision, the references are float64 throughout: with float32 in one of
    the two, tokens whose scores are nearly equal change places.
    """
    level_wh, valid_cells = memory._level_wh, memory._valid_cells
    monkeypatch.setattr(memory, '_level_wh', lambda *args: level_wh(*args).double())
    monkeypatch.setattr(memory, '_valid_cells', lambda *args: valid_cells(*args).double())

    def load(paper, name, config, overrides):
        return _load_case(request.config.rootpath, paper, name, config, tuple(overrides.items()))

    return load
