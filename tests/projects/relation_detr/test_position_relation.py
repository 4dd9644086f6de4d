"""The position relation against recorded output of the official module, and against an obvious slow version."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from detrove.checkpoints.deterministic import deterministic_state_dict
from detrove.layers import BranchSelfAttention, QueryBranch
from detrove.projects.relation_detr import PositionRelation

OFFICIAL = 'transformer.decoder.position_relation_embedding.pos_proj.0.'


@pytest.fixture
def relation():
    torch.manual_seed(0)
    return PositionRelation(num_heads=2, num_feats=4, chunk_numel=100).double()


def random_boxes(*shape):
    centre, size = torch.rand(*shape, 2), torch.rand(*shape, 2) ** 2 / 2 + 0.01
    return torch.cat([centre, size], -1).double()


def slow_relation(module, source, target):
    """One pair and one number after the other."""
    batch, rows, columns = len(source), source.shape[1], target.shape[1]
    out = torch.zeros(batch, module.num_heads, rows, columns, dtype=torch.float64)
    for b in range(batch):
        for i in range(rows):
            for j in range(columns):
                (x1, y1, w1, h1), (x2, y2, w2, h2) = source[b, i].tolist(), target[b, j].tolist()
                numbers = [math.log(abs(x1 - x2) / (w1 + 1e-5) + 1), math.log(abs(y1 - y2) / (h1 + 1e-5) + 1),
                           math.log((w1 + 1e-5) / (w2 + 1e-5)), math.log((h1 + 1e-5) / (h2 + 1e-5))]
                embedding = []
                for number in numbers:
                    for k in range(module.num_feats // 2):
                        angle = 100 * number / 10000 ** (2 * k / module.num_feats)
                        embedding += [math.sin(angle), math.cos(angle)]
                out[b, :, i, j] = (module.proj.weight @ torch.tensor(embedding).double() + module.proj.bias).relu()
    return out


def gradients(module, bias, cotangent):
    module.zero_grad()
    (bias * cotangent).sum().backward()
    return module.proj.weight.grad.clone(), module.proj.bias.grad.clone()


def test_official_output_and_gradients(request):
    """Boxes without area, equal boxes and boxes in the padding (1, 1, 1, 1) are among them."""
    data = np.load(request.config.rootpath / 'tests/data/relation_detr/reference_relation-detr_r50.npz')
    reference = {key.removeprefix('relation/'): torch.from_numpy(data[key]).double() for key in data
                 if key.startswith('relation/')}
    weights = deterministic_state_dict({OFFICIAL + 'weight': (8, 64, 1, 1), OFFICIAL + 'bias': (8,)})
    module = PositionRelation().double()
    module.proj.load_state_dict({key.removeprefix(OFFICIAL): value.squeeze() for key, value in weights.items()})
    source, target = reference['src_cxcywh'].requires_grad_(), reference['tgt_cxcywh'].requires_grad_()
    bias = module.relate(source, target)
    torch.testing.assert_close(bias.detach(), reference['output'], rtol=1e-10, atol=1e-10)
    grad_weight, grad_bias = gradients(module, bias, reference['cotangent'])
    torch.testing.assert_close(grad_weight, reference['grad_weight'].flatten(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad_bias, reference['grad_bias'], rtol=1e-9, atol=1e-9)
    assert source.grad is None and target.grad is None


@pytest.mark.parametrize('chunk_numel', [1, 100, 300, 10**6])
def test_slow_version(relation, chunk_numel):
    """Whatever the chunks are: one row, some rows over the border between images, all."""
    relation.chunk_numel = chunk_numel
    source, target, cotangent = random_boxes(3, 5), random_boxes(3, 4), torch.randn(3, 2, 5, 4).double()
    bias, slow = relation.relate(source, target), slow_relation(relation, source, target)
    torch.testing.assert_close(bias, slow)
    torch.testing.assert_close(gradients(relation, bias, cotangent), gradients(relation, slow, cotangent))


def test_empty_sets(relation):
    assert relation.relate(random_boxes(2, 0), random_boxes(2, 3)).shape == (2, 2, 0, 3)
    assert relation.relate(random_boxes(2, 3), random_boxes(2, 0)).shape == (2, 2, 3, 0)


def test_attention_equals_masked_attention_over_all_queries(relation):
    """The biases of the branches do what the official code's one (Q x Q) bias with its mask does."""
    main, groups, per_group = 5, 3, 2
    branches = [QueryBranch('main', main), QueryBranch('o2m', 4), QueryBranch('dn', groups * per_group, groups, True)]
    total = main + 4 + groups * per_group
    source, target, query = random_boxes(2, total), random_boxes(2, total), torch.randn(2, total, 8).double()
    attention = BranchSelfAttention(8, 2).double()
    ours = attention(query, None, branches, relation(source, target, branches))

    dense = relation.relate(source, target)
    blocked = torch.ones(total, total, dtype=torch.bool)
    blocked[:main, :main] = False
    blocked[main:main + 4, main:main + 4] = False
    dense[:, :, main:main + 4] = 0  # the one-to-many branch has no bias
    for group in range(groups):
        rows = slice(main + 4 + group * per_group, main + 4 + (group + 1) * per_group)
        blocked[rows, :main] = False
        blocked[rows, rows] = False
    torch_attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    torch_attention.load_state_dict(attention.state_dict())
    mask = dense.masked_fill(blocked, -torch.inf).flatten(0, 1)
    torch.testing.assert_close(ours, torch_attention(query, query, query, attn_mask=mask)[0])


def test_branches_without_bias():
    relation = PositionRelation(num_heads=2, without=('o2m', 'dn'))
    branches = [QueryBranch('main', 3), QueryBranch('o2m', 2), QueryBranch('dn', 2, 1, True),
                QueryBranch('group', 6, 2)]
    boxes = random_boxes(1, 13).float()
    shapes = [None if bias is None else tuple(bias.shape) for bias in relation(boxes, boxes, branches)]
    assert shapes == [(1, 2, 3, 3), None, None, (2, 2, 3, 3)]


def test_points_are_refused(relation):
    with pytest.raises(ValueError, match='width and height'):
        relation(random_boxes(1, 3)[..., :2], random_boxes(1, 3), [QueryBranch('main', 3)])


class LargestTensor(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize('num_queries', [64, 256])
def test_memory_grows_with_the_bias_alone(num_queries):
    """Nothing larger than the bias or a chunk is ever made, forward or backward; only bias, boxes, their sines stay."""
    module = PositionRelation(num_heads=8, chunk_numel=2**16)
    boxes, bias_numel = random_boxes(1, num_queries).float(), 8 * num_queries**2
    saved = []
    with LargestTensor() as largest, torch.autograd.graph.saved_tensors_hooks(
            lambda x: saved.append(x.numel()) or x, lambda x: x):
        bias = module.relate(boxes, boxes)
        bias.sum().backward()
    assert largest.numel <= max(bias_numel, 2**16) < 64 * num_queries**2
    assert sum(saved) <= bias_numel + 112 * num_queries + 1000


def test_autocast_keeps_full_precision():
    module, boxes = PositionRelation(num_heads=2), random_boxes(1, 6).float()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        bias = module.relate(boxes, boxes)
    torch.testing.assert_close(bias, module.relate(boxes, boxes), rtol=0, atol=0)
