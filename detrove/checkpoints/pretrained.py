"""Pretrained weights of backbones: mmengine's `init_cfg`, with a report instead of silence."""

import re
from collections.abc import Callable, Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from .loading import LoadReport, load_weights, read_checkpoint

# names of classification layers in the layouts of official repositories, timm, torchvision and mmpretrain
_CLASSIFIER = re.compile(r'(?:head|fc|classifier)\.weight$')


def load_pretrained(module: nn.Module, init_cfg: Mapping, *,
                    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None) -> LoadReport:
    """Load what `init_cfg` names into a backbone and log what did not fit.

    Args:
        module: a backbone; its own load hooks may know other layouts.
        init_cfg: `dict(type='Pretrained', checkpoint=FILE_OR_ADDRESS)`, and `prefix='backbone.'` to take only the
            entries below a prefix, without it.
        convert: applied to the entries before they are loaded, where the module's hooks do not do it.

    Returns:
        What was loaded and what was not.

    Raises:
        ValueError: if `init_cfg` is of another type or has other keys, if no entry has the prefix, or if most of the
            checkpoint does not fit.
    """
    unknown = set(init_cfg) - {'type', 'checkpoint', 'prefix'}
    if init_cfg.get('type') != 'Pretrained' or 'checkpoint' not in init_cfg or unknown:
        raise ValueError(f'{type(module).__name__}: init_cfg is expected as dict(type="Pretrained", checkpoint=..., '
                         f'prefix=... if wanted), got {dict(init_cfg)}.')
    source, prefix = init_cfg['checkpoint'], init_cfg.get('prefix', '')
    weights = read_checkpoint(source)['state_dict']
    chosen = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not chosen:
        raise ValueError(f'{source} has no entry below {prefix!r}; its first ones are {list(weights)[:3]}.')
    chosen = chosen if convert is None else convert(chosen)
    report = load_weights(module, chosen, source=source)
    for name in report.unexpected:
        if _CLASSIFIER.search(name):
            print_log(f'{source}: the classification layer {name.removesuffix(".weight")!r} of '
                      f'{len(chosen[name])} classes is not used', logger='current')
    print_log(str(report), logger='current')
    return report
