"""Optimiser set-up: parameter groups chosen by regular expressions, and bfloat16 without a GPU."""

import contextlib
import inspect
import re
from collections.abc import Mapping

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

_OTHER_KERNELS = {'foreach', 'capturable', 'differentiable'}  # of torch's optimisers, besides `fused`


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class RegexOptimWrapperConstructor:
    r"""Group parameters by the first regular expression found in their names.

    The groups of the DETR family combine conditions ("in the backbone and not a norm"), which the substrings
    of mmengine's `custom_keys` cannot say::

        optim_wrapper = dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
            constructor='RegexOptimWrapperConstructor',
            paramwise_cfg=dict(groups=[
                dict(match=r'^backbone.*\.(norm|bn)', lr_mult=0.1, decay_mult=0),
                dict(match=r'^backbone', lr_mult=0.1),
            ]))

    A parameter that no expression matches has the settings of the optimizer; frozen parameters are left out.
    How many parameters each group holds is logged. torch's optimisers that have one take their fused kernel unless the
    settings choose another.

    `layer_decay=dict(rate=0.9)` beside `groups` gives earlier layers of the backbone a smaller learning rate:
    `rate` to the power of how many layers lie behind, by the backbone's `get_layer_depth`, times the `lr_mult` of
    the group. Parameters whose learning rate and weight decay are equal then share a group.

    Args:
        optim_wrapper_cfg: The settings of the wrapper, `optimizer` among them.
        paramwise_cfg: `groups`, each `match` (searched for in the name) with `lr_mult` and `decay_mult`, both
            1 if left out, and `ndim=1` to take only tensors of one dimension (norms, biases, scales); `layer_decay`.

    Raises:
        ValueError: If a group has another key, an expression is broken, one matches no parameter that is
            trained, or layers of the backbone cannot be told.
    """

    def __init__(self, optim_wrapper_cfg: Mapping, paramwise_cfg: Mapping | None = None):
        if 'optimizer' not in optim_wrapper_cfg:
            raise ValueError('optim_wrapper has no `optimizer`, e.g. optimizer=dict(type="AdamW", lr=1e-4)')
        self.wrapper_cfg = {'type': 'OptimWrapper', **optim_wrapper_cfg}
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer'))
        paramwise_cfg = paramwise_cfg or {}
        unknown = set(paramwise_cfg) - {'groups', 'layer_decay'}
        if unknown:
            raise ValueError(f'paramwise_cfg of {type(self).__name__} takes `groups` and `layer_decay`, got '
                             f'{sorted(unknown)}')
        self.groups = [_check_group(group) for group in paramwise_cfg.get('groups', [])]
        self.layer_decay = _check_layer_decay(paramwise_cfg.get('layer_decay'))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        if is_model_wrapper(model):
            model = model.module
        optimizer_class = self.optimizer_cfg['type']
        if isinstance(optimizer_class, str):
            optimizer_class = OPTIMIZERS.get(optimizer_class)
        first_argument, *others = inspect.signature(optimizer_class).parameters
        fused = {'fused': True} if 'fused' in others and not _OTHER_KERNELS & set(self.optimizer_cfg) else {}
        settings = {**fused, **self.optimizer_cfg, first_argument: self.parameter_groups(model)}
        optimizer = OPTIMIZERS.build(settings)
        return OPTIM_WRAPPERS.build({**self.wrapper_cfg, 'optimizer': optimizer})

    def parameter_groups(self, model: nn.Module) -> list[dict]:
        """The parameter groups as torch's optimisers take them; what matched nothing is the first."""
        members = self._assign(model)
        names = [*(group['match'] for group in self.groups), 'no match']
        for match, parameters in zip(names, members, strict=True):
            size = sum(parameter.numel() for parameter in parameters.values())
            print_log(f'optimizer group {match!r}: {len(parameters)} tensors, {size:,} values', logger='current')
        rest = members.pop()
        if self.layer_decay is not None:
            return self._decayed_groups(model, [(rest, {}), *zip(members, self.groups, strict=True)])
        parameter_groups = [dict(params=[*rest.values()])] if rest else []
        for group, parameters in zip(self.groups, members, strict=True):
            parameter_groups.append(dict(params=[*parameters.values()], **self._settings(group)))
        return parameter_groups

    def _settings(self, group: Mapping) -> dict[str, float]:
        settings = {}
        if 'lr_mult' in group:
            settings['lr'] = self._base('lr') * group['lr_mult']
        if 'decay_mult' in group:
            settings['weight_decay'] = self._base('weight_decay') * group['decay_mult']
        return settings

    def _decayed_groups(self, model: nn.Module,
                        members: list[tuple[dict[str, nn.Parameter], Mapping]]) -> list[dict]:
        backbone = getattr(model, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise ValueError(
                f'optim_wrapper.paramwise_cfg.layer_decay needs model.backbone.get_layer_depth, which '
                f'{type(backbone).__name__} does not have. Remove layer_decay, or take a backbone of this project, '
                'TimmBackbone or MMPretrainBackbone.'
            )
        merged = {}
        for parameters, group in members:
            for name, parameter in parameters.items():
                settings = self._settings({'lr_mult': 1.0, **group})
                if name.startswith('backbone.'):
                    layer, num_layers = backbone.get_layer_depth(name, prefix='backbone.')
                    settings['lr'] *= self.layer_decay ** (num_layers - 1 - layer)
                key = tuple(sorted(settings.items()))
                merged.setdefault(key, dict(settings, params=[]))['params'].append(parameter)
        rates = sorted(group['lr'] for group in merged.values())
        print_log(f'layer decay {self.layer_decay}: {len(merged)} groups, learning rates from {rates[0]:.3g} to '
                  f'{rates[-1]:.3g}', logger='current')
        return [*merged.values()]

    def _assign(self, model: nn.Module) -> list[dict[str, nn.Parameter]]:
        members = [{} for _ in range(len(self.groups) + 1)]
        shadowed = [0] * len(self.groups)
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            matches = [index for index, group in enumerate(self.groups) if re.search(group['match'], name)
                       and group.get('ndim', parameter.ndim) == parameter.ndim]
            members[matches[0] if matches else -1][name] = parameter
            for index in matches[1:]:
                shadowed[index] += 1
        for group, parameters, count in zip(self.groups, members[:-1], shadowed, strict=True):
            if not parameters:
                reason = (
                    f'the {count} trained parameters it matches are all taken by expressions before it'
                    if count
                    else 'matches no trained parameter of the model'
                )
                raise ValueError(
                    f'optim_wrapper.paramwise_cfg.groups: {group["match"]!r} {reason}. Remove it, or compare it with '
                    f'names such as {[name for name, _ in model.named_parameters()][:3]}.'
                )
        return members

    def _base(self, key: str) -> float:
        if key not in self.optimizer_cfg:
            raise ValueError(f'paramwise_cfg multiplies the {key} of the optimizer, which does not set {key}')
        return self.optimizer_cfg[key]


def _check_group(group: Mapping) -> dict:
    unknown = set(group) - {'match', 'ndim', 'lr_mult', 'decay_mult'}
    if unknown or 'match' not in group:
        raise ValueError(f'a group has `match`, `ndim`, `lr_mult` and `decay_mult`, got {dict(group)}')
    try:
        re.compile(group['match'])
    except re.error as error:
        raise ValueError(f'{group["match"]!r} is not a regular expression: {error}') from error
    return dict(group)


def _check_layer_decay(layer_decay: Mapping | None) -> float | None:
    if layer_decay is None:
        return None
    if set(layer_decay) != {'rate'} or not 0 < layer_decay['rate'] <= 1:
        raise ValueError(f'paramwise_cfg.layer_decay is expected as dict(rate=R), 0 < R <= 1, got {dict(layer_decay)}')
    return layer_decay['rate']


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, without loss scaling, for the CPU: AmpOptimWrapper asks for a GPU."""

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module):
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
