"""`detrove replay`: the step with a loss or gradient that was not finite, once more."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='detrove replay',
        description='Compute a training step again that ended with a non-finite loss or gradient, and say which module '
        'made the first such number. Exit status 0 when it is found again.',
    )
    parser.add_argument('step', metavar='STEP', help='the file that training named: WORK_DIR/non_finite/iter_N.pth')
    parser.add_argument('--device', default='cpu', help='cpu (the default), cuda, ...')
    parser.add_argument('--fp32', action='store_true', help='without the mixed precision that training had')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    path = Path(args.step).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'no such step: {path.absolute()}')

    from mmengine.config import Config

    from detrove.apis import build_model
    from detrove.checkpoints import load_weights
    from detrove.engine.non_finite import read_step, trace

    step = read_step(path)
    settings = Config(dict(model=step['model'], default_scope=step['scope'] or 'mmdet'))
    model = build_model(settings).to(args.device).train()
    load_weights(model, step['state_dict'], source=str(path))
    origin = trace(model, step['batch'], step['random'], None if args.fp32 else step['dtype'])
    print(f'iteration {step["iter"]}, when it was trained: {step["what"]}')
    for sample in step['batch'].get('data_samples') or ():
        print(f'  image {sample.metainfo.get("img_path", "?")}')
    for name, value in (origin.losses or {}).items():
        print(f'  {name} {value:.6g}')
    print(origin)
    return int(not (origin.forward or origin.backward or origin.parameters))
