"""`fsdp` in a config: each process keeps a part of every weight, gradient, average and optimiser state (FSDP2)."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from .bare_model import averaged_models
from .blocks import find_blocks

_OPTIONS = {'blocks', 'reshard_after_forward'}
_TORCH = 2, 15  # the first that was tested


def is_sharded(model: nn.Module) -> bool:
    """Whether this process has only a part of the model's weights."""
    return isinstance(model, FSDPModule)


def without_wrapper(model: nn.Module, sync_bn: str | None) -> nn.Module:
    """The model on its device, as it stays until training starts; nothing is put around it."""
    model = model.to(get_device())
    return model if sync_bn is None else convert_sync_batchnorm(model, sync_bn)


def local(tensor: Tensor) -> Tensor:
    """What this process has of a tensor, sharing memory; all of it if the tensor is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


class ShardHook(Hook):
    """Shard model, averages and optimiser before the first step.

    Everything before (initialisation, parameter groups, loading, resuming) sees whole tensors, as without `fsdp`. What
    is saved is whole, too, see `whole_states`. Each block is gathered for its forward and its backward pass, the rest
    of the model for the whole step. For validation the model is gathered once, by `GatherHook`.
    """

    priority = 'HIGHEST'

    def before_train(self, runner) -> None:
        self.options = _checked(runner)
        mesh = init_device_mesh(torch.device(get_device()).type, (get_world_size(),))
        model, optimizer = runner.model, runner.optim_wrapper.optimizer
        before = dict(model.named_parameters())
        blocks = _shard(model, mesh, self.options)
        after = dict(model.named_parameters())
        _shard_optimizer(optimizer, {parameter: after[name] for name, parameter in before.items()})
        for averaged in averaged_models(runner):
            _shard(averaged.module, mesh, self.options)
            averaged.avg_parameters = (averaged.module.state_dict() if averaged.update_buffers
                                       else dict(averaged.module.named_parameters()))
        runner.optim_wrapper.clip_func = _clip_by_whole_norm
        mine, total = (sum(parameter.numel() for parameter in parameters) for parameters in
                       (map(local, after.values()), before.values()))
        runner.logger.info(f'fsdp: {mine:,} of {total:,} values of the model in this process; gathered by '
                           f'{len(blocks)} blocks and the rest')

    def after_val_epoch(self, runner, metrics=None) -> None:
        _spread(runner.model, self.options)

    after_test_epoch = after_val_epoch


class GatherHook(Hook):
    """Gather the model before validation: processes with more images than others would wait for them in vain."""

    priority = 'LOWEST'  # after EMAHook has exchanged the weights

    def before_val_epoch(self, runner) -> None:
        for module in _sharded_modules(runner.model):
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()

    before_test_epoch = before_val_epoch


def _checked(runner) -> dict:
    """The options, where everything else in the config goes together with them."""
    cfg, wrapper = runner.cfg, runner.optim_wrapper
    options = {} if cfg.fsdp is True else cfg.fsdp
    if (not isinstance(options, Mapping) or set(options) - _OPTIONS
            or not isinstance(options.get('reshard_after_forward', True), bool)):
        raise ValueError(f'fsdp={cfg.fsdp!r}: True is expected, or a dict with `blocks` (names of modules) and '
                         '`reshard_after_forward` (True or False)')
    if torch.__version__ < _TORCH:
        raise ValueError(f'fsdp: torch {torch.__version__} is installed, and 2.15 is the first that was tested (early '
                         'ones lose gradients of tensors inside dataclasses). Install a newer one, or leave out fsdp.')
    for key in ('channels_last', 'compile', 'evaluate_raw', 'model_wrapper_cfg', 'find_unused_parameters'):
        if cfg.get(key):
            raise ValueError(f'fsdp does not go together with {key}={cfg[key]!r}: leave out one of them '
                             f'(fsdp=False, or {key}={"None" if key == "model_wrapper_cfg" else "False"})')
    if not isinstance(wrapper, OptimWrapper):
        raise ValueError('fsdp knows one optimiser, and this config has several: leave out fsdp')
    if not wrapper.clip_grad_kwargs or wrapper.grad_name != 'grad_norm':
        raise ValueError('fsdp needs optim_wrapper.clip_grad=dict(max_norm=...): the gradient norm is where all '
                         "processes see that a step is not finite. max_norm=float('inf') changes no gradient.")
    scalars = [name for name, parameter in runner.model.named_parameters() if parameter.ndim == 0]
    if scalars:
        raise ValueError(f'fsdp shards tensors along their first dimension, which {", ".join(scalars)} do not have: '
                         'leave out fsdp')
    return dict(options)


def _shard(model: nn.Module, mesh: DeviceMesh, options: Mapping) -> list[str]:
    blocks = find_blocks(model, options.get('blocks'))
    for name in sorted(blocks, key=lambda name: name.count('.'), reverse=True):  # inner ones first
        fully_shard(blocks[name], mesh=mesh, reshard_after_forward=options.get('reshard_after_forward', True))
    fully_shard(model, mesh=mesh)
    if mesh.device_type == 'cpu':  # gloo has no average
        for module in _sharded_modules(model):
            module.set_force_sum_reduction_for_comms(True)
    return list(blocks)


def _sharded_modules(model: nn.Module) -> Iterator[FSDPModule]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def _spread(model: nn.Module, options: Mapping) -> None:
    for module in _sharded_modules(model):
        reshard = module is not model and options.get('reshard_after_forward', True)
        module.set_reshard_after_forward(reshard, recurse=False)
        module.reshard()


def _shard_optimizer(optimizer: Optimizer, parts: Mapping[Tensor, DTensor]) -> None:
    """Give an optimiser the parts in place of whole parameters, and of its state what belongs to them."""
    for group in optimizer.param_groups:
        group['params'] = [parts[parameter] for parameter in group['params']]
    states = list(optimizer.state.items())
    optimizer.state.clear()
    for parameter, state in states:
        part = parts[parameter]
        optimizer.state[part] = {
            key: _part(value, part) if isinstance(value, Tensor) and value.shape == parameter.shape else value
            for key, value in state.items()}


def _part(tensor: Tensor, like: DTensor) -> DTensor:
    """This process's part of a tensor, cut as `like` is."""
    parts = tensor.chunk(like.device_mesh.size())
    rank = like.device_mesh.get_local_rank()
    mine = parts[rank] if rank < len(parts) else tensor[:0]
    return DTensor.from_local(mine.clone(), like.device_mesh, like.placements, run_check=False, shape=like.shape,
                              stride=like.stride())


def _clip_by_whole_norm(parameters, **settings) -> Tensor:
    return nn.utils.clip_grad_norm_(parameters, **settings).full_tensor()


def whole(state, *, keep: bool = True):
    """A nested state whose tensors are whole, in memory of the CPU where they were parts; of all processes at once.

    Args:
        state: dicts, lists and tuples of anything.
        keep: False for a process that takes part and has no use for the result, which is then empty tensors.
    """
    if isinstance(state, DTensor):
        gathered = state.detach().full_tensor()
        return gathered.cpu() if keep else gathered.new_empty(0)
    if isinstance(state, Mapping):
        copied = type(state)((key, whole(value, keep=keep)) for key, value in state.items())
        if hasattr(state, '_metadata'):  # of a module's state dict
            copied._metadata = state._metadata
        return copied
    if isinstance(state, list | tuple):
        return type(state)(whole(value, keep=keep) for value in state)
    return state


@contextlib.contextmanager
def whole_states(runner) -> Iterator[None]:
    """Inside, `state_dict()` of model, averages and optimiser is what one process alone would have.

    All processes have to enter it; the main one has the result.
    """
    if not is_sharded(runner.model):
        yield
        return
    owners = [runner.model, runner.optim_wrapper, *averaged_models(runner)]
    for owner in owners:
        state = whole(owner.state_dict(), keep=is_main_process())
        owner.state_dict = lambda *_, _state=state, **__: _state
    try:
        yield
    finally:
        for owner in owners:
            del owner.state_dict
