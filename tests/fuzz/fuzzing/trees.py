"""JSON that was right, changed in a few places; bytes that were whole, damaged."""

import copy
import json

from hypothesis import strategies as st

NUMBERS = st.sampled_from([0, -1, 1, 2, 7, 0.5, -0.0, 1e-300, 1e308, 2**31, 2**63, -(2**63) - 1, 10**40,
                           float('nan'), float('inf'), float('-inf')])
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(
    ['', '0', '../../etc/passwd', '/etc/passwd', 'a\0b', 'http://127.0.0.1:9/a.png', 'Größe.png', '日本.png', '\ud800',
     'images', '.', '..', '~', '1.png', 'x' * 300, '{0}', '%s', "__import__('os').system('touch MARK')"]))
SCALARS = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none())
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)), max_leaves=6)


def _places(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _places(value, (*path, key))


@st.composite
def mutated(draw, content, values=VALUES, most=4):
    """The content with up to `most` places replaced, taken out, said twice, swapped for another or nested deeply."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(0, most))):
        path = draw(st.sampled_from(list(_places(content))))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return copy.deepcopy(draw(values))
            continue
        *above, key = path
        parent = content
        for step in above:
            parent = parent[step]
        change = draw(st.sampled_from(['replace', 'replace', 'delete', 'twice', 'swap', 'deep']))
        if change == 'replace':
            parent[key] = copy.deepcopy(draw(values))  # Hypothesis gives the same object again
        elif change == 'delete':
            del parent[key]
        elif change == 'twice' and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif change == 'swap':
            other = content
            for step in draw(st.sampled_from(list(_places(content)))):
                other = other[step]
            parent[key] = copy.deepcopy(other)
        elif change == 'deep':
            for _ in range(draw(st.sampled_from([3, 50, 300]))):
                parent[key] = [parent[key]]
    return content


@st.composite
def damaged(draw, content: bytes):
    """The bytes whole, cut, with bytes changed, put in or repeated, of another encoding, or others altogether."""
    change = draw(st.sampled_from(['whole', 'cut', 'flip', 'flip', 'insert', 'repeat', 'random', 'empty', 'utf16']))
    if not content or change == 'whole':
        return content
    place = draw(st.integers(0, len(content) - 1))
    if change == 'cut':
        return content[:place]
    if change == 'flip':
        content = bytearray(content)
        for _ in range(draw(st.integers(1, 8))):
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        return bytes(content)
    if change == 'insert':
        return content[:place] + draw(st.binary(max_size=20)) + content[place:]
    if change == 'repeat':
        return content[:place] + content[draw(st.integers(0, place)):]
    if change == 'random':
        return draw(st.binary(max_size=200))
    return b'' if change == 'empty' else content.decode('latin1').encode('utf-16')


def as_json(content) -> bytes:
    return json.dumps(content).encode()
