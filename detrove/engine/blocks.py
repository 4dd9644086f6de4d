"""The blocks of a model: what is sharded, or computed again in the backward pass, as one."""

import logging
from collections.abc import Iterator, Sequence
from functools import wraps

from mmengine.logging import print_log
from torch import nn
from torch.utils.checkpoint import checkpoint

_LISTS = ('blocks', 'layers')
_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


def find_blocks(model: nn.Module, names: Sequence[str] | None = None) -> dict[str, nn.Module]:
    """Blocks of a model by name.

    Args:
        model: any model, not wrapped.
        names: modules, dots for nested ones; a list stands for its entries. None for the transformer blocks of
            backbone, neck, encoder and decoder, wherever they are: the entries of lists called `blocks` or `layers`,
            those of stages in place of the stages.

    Raises:
        ValueError: the model has no such module.
    """
    if names is None:
        return dict(_transformer_blocks(model, ''))
    has, found = dict(model.named_modules()), {}
    for name in names:
        if name not in has:
            children = [child for child, _ in model.named_children()]
            raise ValueError(f'{type(model).__name__} has no module {name!r}. Its parts are {children}.')
        entries = has[name].named_children() if isinstance(has[name], _CONTAINERS) else ()
        found.update({f'{name}.{entry}': module for entry, module in entries} or {name: has[name]})
    return found


def _transformer_blocks(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if name not in _LISTS or not isinstance(child, nn.ModuleList | nn.Sequential):
            yield from _transformer_blocks(child, f'{path}{name}.')
            continue
        for index, entry in child.named_children():
            place = f'{path}{name}.{index}'
            stage = isinstance(entry, _CONTAINERS) or any(part.endswith('blocks') for part, _ in entry.named_modules())
            if stage:
                yield from _transformer_blocks(entry, f'{place}.')
            elif any(True for _ in entry.children()) and any(True for _ in entry.parameters()):  # no single layer
                yield place, entry


def recompute(model: nn.Module, names: Sequence[str] | str | bool) -> None:
    """Keep only the inputs of blocks for the backward pass and compute the rest again; numbers stay as they are.

    Args:
        model: not wrapped.
        names: `activation_checkpointing` of a config: names for `find_blocks`, True for all transformer blocks but
            those with batch norms, whose statistics would take in every batch twice.

    Raises:
        ValueError: the model has no such module, or no blocks.
    """
    if names is False:
        return
    blocks = find_blocks(model, None if names is True else [names] if isinstance(names, str) else names)
    averaging = [name for name, block in blocks.items() if any(map(_averages, block.modules()))]
    if names is True:
        blocks = {name: block for name, block in blocks.items() if name not in averaging}
    elif averaging:
        print_log(f'activation_checkpointing: the statistics of batch norms in {", ".join(averaging)} take in every '
                  'batch twice', logger='current', level=logging.WARNING)
    if not blocks:
        raise ValueError(f'activation_checkpointing=True: {type(model).__name__} has no lists of transformer blocks. '
                         "Name modules: activation_checkpointing=['backbone.layer1', ...]")
    # A backbone with `with_cp` does the same to its blocks, which would be computed a third time.
    already = [name for name, part in model.named_modules() if getattr(part, 'with_cp', False) is True]
    blocks = {name: block for name, block in blocks.items()
              if not any(f'{name}.'.startswith(f'{owner}.') for owner in already)}
    for block in blocks.values():
        block.forward = _recomputed(block)


def _recomputed(block: nn.Module):
    forward = block.forward

    @wraps(forward)
    def run(*args, **kwargs):
        return checkpoint(forward, *args, use_reentrant=False, **kwargs) if block.training else forward(*args, **kwargs)

    return run


def _averages(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats and any(
        parameter.requires_grad for parameter in module.parameters())
