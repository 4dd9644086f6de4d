"""Query ranking and the rank-adaptive head, against loops over single queries."""

import pytest
import torch

from detrove.layers import LayerwiseHead, QueryBranch
from detrove.projects.rank_detr import QueryRanking, RankAdaptiveHead

MAIN, MANY, DIMS, CLASSES, LAYERS = 5, 7, 8, 3, 4
BRANCHES = {
    'main': [QueryBranch('main', MAIN)],
    'main, o2m': [QueryBranch('main', MAIN), QueryBranch('o2m', MANY, targets_per_object=2)],
    'main, group, o2m, dn': [QueryBranch('main', MAIN), QueryBranch('group', 2 * MAIN, num_groups=2),
                             QueryBranch('o2m', MANY), QueryBranch('dn', 6, num_groups=3, sees_main=True)],
    'main, shorter o2m': [QueryBranch('main', MAIN), QueryBranch('o2m', MANY - 3)],
    'shorter main': [QueryBranch('main', MAIN - 2)],
}


@pytest.fixture(params=BRANCHES)
def branches(request):
    return BRANCHES[request.param]


@pytest.fixture
def ranking():
    torch.manual_seed(0)
    return QueryRanking(num_queries=MAIN, num_one_to_many=MANY, num_layers=LAYERS, embed_dims=DIMS)


@pytest.fixture
def head():
    torch.manual_seed(1)
    head = RankAdaptiveHead(num_queries=MAIN, num_one_to_many=MANY, num_classes=CLASSES, num_layers=LAYERS,
                            embed_dims=DIMS)
    for table in head.rank_logits:
        torch.nn.init.normal_(table.weight, std=10)
    return head


def make_queries(branches, batch=2):
    count = sum(branch.num_queries for branch in branches)
    return torch.randn(batch, count, DIMS, generator=torch.Generator().manual_seed(2))


def ranks_and_rows(branches):
    """For each query: its rank in its set, None for denoising queries, and the row of a table of ranks."""
    for branch in branches:
        for place in range(branch.num_queries):
            rank = place % (branch.num_queries // branch.num_groups)
            if branch.name == 'dn':
                yield None, None
            else:
                yield rank, rank + (MAIN if branch.name == 'o2m' else 0)


def test_order_against_sorting_lists(ranking, head, branches):
    """Each set by itself, by the highest class logit in which ranks play no part; denoising queries stay."""
    query = make_queries(branches)
    order = ranking.order(2, query, head, branches)
    for image in range(len(query)):
        expected, start = [], 0
        for branch in branches:
            in_group = branch.num_queries // branch.num_groups
            for _ in range(branch.num_groups):
                places = list(range(start, start + in_group))
                if branch.name != 'dn':
                    score = {place: max(head.class_heads[2](query[image, place]).tolist()) for place in places}
                    places.sort(key=score.get, reverse=True)
                expected += places
                start += in_group
        assert order[image].tolist() == expected


def test_mix_against_single_queries(ranking, branches):
    content = make_queries(branches)
    mixed = ranking.mix(1, content, branches)
    for place, (_, row) in enumerate(ranks_and_rows(branches)):
        embedding = torch.zeros(DIMS) if row is None else ranking.embeddings[1].weight[row]
        for image in range(len(content)):
            expected = ranking.post[1](torch.cat([content[image, place], ranking.pre[1](embedding)]))
            torch.testing.assert_close(mixed[image, place], expected)


def test_head_against_single_queries(head, branches):
    query = make_queries(branches)
    logits = head.classify(3, query, branches)
    plain = head.classify(3, query)
    for place, (_, row) in enumerate(ranks_and_rows(branches)):
        added = torch.zeros(CLASSES) if row is None else head.rank_logits[3].weight[row]
        torch.testing.assert_close(logits[:, place], head.class_heads[3](query[:, place]) + added)
        torch.testing.assert_close(plain[:, place], head.class_heads[3](query[:, place]))


def test_head_starts_as_the_plain_one(branches):
    """The rank logits start at zero, and with one shared class head every layer has its own."""
    torch.manual_seed(0)
    head = RankAdaptiveHead(num_queries=MAIN, num_one_to_many=MANY, num_classes=CLASSES, shared=True,
                            num_layers=LAYERS, embed_dims=DIMS)
    query = make_queries(branches)
    torch.testing.assert_close(head.classify(2, query, branches), LayerwiseHead.classify(head, 2, query))
    assert len(head.class_heads) == 1 and len(head.rank_logits) == LAYERS


def test_sorting_alone_leaves_content(head, branches):
    ranking = QueryRanking(num_queries=MAIN, num_one_to_many=MANY, rank_layer=False, num_layers=LAYERS, embed_dims=DIMS)
    assert not list(ranking.parameters())
    query = make_queries(branches)
    assert ranking.mix(0, query, branches) is query
    assert ranking.order(0, query, head, branches).shape == query.shape[:2]


def test_ranking_with_a_plain_head(ranking):
    branches = BRANCHES['main']
    head = LayerwiseHead(num_classes=CLASSES, num_layers=LAYERS, embed_dims=DIMS)
    order = ranking.order(0, make_queries(branches), head, branches)
    assert order.sort(-1).values.tolist() == [list(range(MAIN))] * 2


def test_equal_scores_keep_their_order(ranking, head):
    branches = BRANCHES['main, o2m']
    query = make_queries(branches)[:, :1].expand(-1, MAIN + MANY, -1)
    assert ranking.order(0, query, head, branches).tolist() == [list(range(MAIN + MANY))] * 2


def test_initial_weights(ranking):
    """Matrices, the rank embeddings among them, from Xavier's distribution; rank logits zero."""
    for matrix in [*(x.weight for x in ranking.embeddings), *(x.weight for x in ranking.pre)]:
        bound = (6 / sum(matrix.shape)) ** 0.5
        assert 0.5 * bound < matrix.abs().max() <= bound
    head = RankAdaptiveHead(num_queries=MAIN, num_classes=CLASSES, embed_dims=DIMS)
    assert not any(table.weight.any() for table in head.rank_logits)


@pytest.mark.parametrize('branches, wrong', [
    ([QueryBranch('main', MAIN + 1)], f'num_queries={MAIN + 1}'),
    ([QueryBranch('main', MAIN), QueryBranch('o2m', MANY + 2)], f'num_one_to_many={MANY + 2}'),
    ([QueryBranch('main', MAIN), QueryBranch('group', 2 * MAIN + 2, num_groups=2)], f'num_queries={MAIN + 1}'),
])
def test_too_few_ranks(ranking, head, branches, wrong):
    query = make_queries(branches)
    with pytest.raises(ValueError, match=wrong):
        head.classify(0, query, branches)
    with pytest.raises(ValueError, match=wrong):
        ranking.mix(0, query, branches)
