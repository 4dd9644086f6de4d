"""Configs, run as code and read as data: misspelt, of wrong kinds, inheriting in circles, and with programs in them.

What is run as code is written by the tests and harmless; programs are only given to the reader that runs none.
"""

import json
import os
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st

from detrove.engine.config_check import check_config, load_config
from detrove.engine.safe_config import SAFE_VARIABLE

from .oracle import Case
from .trees import SCALARS, VALUES, damaged, mutated

CONTENT = dict(
    default_scope='mmdet',
    model=dict(type='RetinaNet', backbone=dict(type='ResNet', depth=18, init_cfg=None),
               neck=dict(type='FPN', in_channels=[64, 128], out_channels=8, num_outs=2),
               bbox_head=dict(type='RetinaHead', num_classes=2, in_channels=8)),
    train_dataloader=dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
                          dataset=dict(type='CocoDetection', ann_file='train.json', data_prefix=dict(img='.'),
                                       pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')])),
    train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1), val_cfg=None,
    optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
    default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)), load_from=None, work_dir='work')
COCO = dict(images=[], categories=[dict(id=1, name='a'), dict(id=2, name='b')], annotations=[])
TYPES = st.sampled_from([
    'os.system', 'subprocess.Popen', 'evil', 'builtins.eval', 'mmdet.FPN', 'mmdet.evil', 'RetinaNte', 'torch.hub.load',
    'x.y.z', '.', '', 'mmengine.runner.Runner', "__import__('os')"])  # fmt: skip
PROGRAMS = (
    "import os\nos.mkdir('MARK')\n", "__import__('os').mkdir('MARK')\n", "a = open('MARK', 'w')\n",
    "a = [x for x in ().__class__.__base__.__subclasses__()]\n", 'def f():\n    pass\na = f()\n',
    "a = (lambda: open('MARK', 'w'))()\n", "a = f'{open(\"MARK\", \"w\")}'\n", "a = '{0.__class__}'.format(1)\n",
    'a = 9 ** 9 ** 9\n', "a = 'x' * 10 ** 12\n", 'a = [0] * 10 ** 10\n', 'a = list(range(10 ** 12))\n',
    'a = [[0] * 10] * 10\n' * 3 + ''.join(f'a = [a, a, a, a, a, a, a, a]  # {i}\n' for i in range(20)),
    'a = {}\na["a"] = a\n', 'while True:\n    pass\n', 'a = [b for b in range(10**5) for c in range(10**5)]\n',
    "exec('1')\n", 'a = dict\nb = a()\n', 'class A:\n    pass\n', '_base_.update(a=1)\n', 'a = max([1], key=print)\n',
    "a = b''.__class__\n", 'from os import mkdir\n', "with open('MARK', 'w'):\n    pass\n", "a = '%9999999999d' % 1\n",
    f'a = {"(" * 300}1{")" * 300}\n', f'a = {"[" * 150}{"]" * 150}\n', f'a = {"-" * 5000}1\n', 'a = (t := 1)\n',
    'a = 1\n' + ''.join(f'a = (a, a)  # {i}\n' for i in range(40)) + 'b = {a}\n',
    'a = sum([[[0] * 9999] * 9999], [])\n',
)
YAML_PROGRAMS = (
    "a: !!python/object/apply:os.mkdir ['MARK']\n", 'a: !!python/name:os.system\n',
    'a0: &a0 [x, x]\n' + ''.join(f'a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n' for i in range(1, 30)),
    'a: &a [*a]\n', '[' * 200, '{' * 2000,
)


@st.composite
def config_files(draw) -> Case:
    """Configs without programs, run by mmengine."""
    return _case(draw, safe=False)


@st.composite
def safe_config_files(draw) -> Case:
    """Configs with programs, read as data."""
    return _case(draw, safe=True)


def _case(draw, *, safe: bool) -> Case:
    # without programs in the values either: what mmengine looks up by name, it imports
    content = draw(mutated(CONTENT, st.one_of(VALUES, TYPES) if safe else VALUES))
    suffix = draw(st.sampled_from(['.py', '.py', '.json', '.yaml']))
    files = {}
    if draw(st.integers(0, 2)) == 0 and isinstance(content, dict):
        content['_base_'] = draw(st.one_of(st.sampled_from(
            ['gone.py', 'base.py', ['base.py', 'again.py'], ['base.py', 'base.py'], f'main{suffix}', '.', '', 5, [],
             'mmdet::gone.py', 'evil::a.py', '../main.py', 'picture.png']), SCALARS.filter(_is_harmless)))
        inner = draw(st.sampled_from([{}, dict(_base_=f'main{suffix}'), dict(model=5), dict(model=dict(backbone=3)),
                                      dict(model=dict(neck=dict(_delete_=True)))]))
        files['base.py'] = _python(inner)
        files['again.py'] = _python(dict(load_from=None))
    text = _python(content) if suffix == '.py' else json.dumps(content).encode()
    change = draw(st.integers(0, 5))
    if change == 0 and (safe or suffix != '.py'):
        text = draw(damaged(text))
    elif change == 0:
        text = text[: draw(st.integers(0, len(text)))]
    elif change == 1 and safe and suffix != '.json':
        text += draw(st.sampled_from(PROGRAMS if suffix == '.py' else YAML_PROGRAMS)).encode()
    name = f'main{suffix}'

    def load(folder: Path) -> None:
        before = Path.cwd()
        os.chdir(folder)
        try:
            with mock.patch.dict(os.environ, {SAFE_VARIABLE: '1' if safe else '0'}):
                cfg = load_config(name)
                cfg.setdefault('work_dir', str(folder / 'work'))
                check_config(cfg, mode='train')
        finally:
            os.chdir(before)

    return Case({name: text, 'train.json': json.dumps(COCO).encode()} | files, load, name, repr(text[:3000]))


def _is_harmless(value) -> bool:
    return not isinstance(value, str) or 'http' not in value


def _python(content) -> bytes:
    if not isinstance(content, dict):
        return f'{content!r}\n'.encode('utf-8', 'surrogatepass')
    names = {key: value for key, value in content.items() if isinstance(key, str) and key.isidentifier()}
    text = ''.join(f'{key} = {value!r}\n' for key, value in names.items())
    return text.replace('nan', "float('nan')").replace('inf', "float('inf')").encode('utf-8', 'surrogatepass')
