"""Going on with an interrupted training: what a checkpoint has to say about it, and what must not have changed."""

import json
from collections.abc import Iterator, Mapping

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop

from .data_order import SeededBatchSampler
from .random_state import put_random_state, take_random_state
from .schedule import resolve_fractions

KEY = 'detrove_resume'  # in the checkpoint
_UNKNOWN = dict(random=None, validated=True, sampler_seed=None)  # of a checkpoint without it


def make_record(runner, random_states: list[dict] | None, *, validated: bool) -> dict:
    """What a checkpoint of `runner` needs beside mmengine's entries.

    Args:
        random_states: Of every process, by rank, see `take_random_state`; of this one where None.
        validated: Whether the validation that follows this step was made.
    """
    batches = runner.train_loop.dataloader.batch_sampler
    if random_states is None and get_world_size() == 1:
        random_states = [take_random_state()]
    return dict(
        settings=json.dumps(run_settings(runner)),
        random=random_states,
        validated=validated,
        sampler_seed=getattr(batches.sampler, 'seed', None) if isinstance(batches, SeededBatchSampler) else None,
    )


def run_settings(runner) -> dict:
    """The settings that decide what the next step does, beside the model: schedule, optimiser, batches, processes."""
    loop, cfg = runner.train_loop, runner.cfg
    schedulers = resolve_fractions(cfg.get('param_scheduler'), loop.max_epochs, loop.max_iters)
    settings = dict(
        processes=get_world_size(),
        images_per_process=getattr(loop.dataloader.batch_sampler, 'batch_size', None),
        iterations_per_epoch=len(loop.dataloader),
        optim_wrapper=cfg.get('optim_wrapper'),
        param_scheduler=schedulers,
    )
    return json.loads(json.dumps(settings, default=str))


def differences(before: Mapping, now: Mapping) -> list[str]:
    """`key: value in the checkpoint, value now` of every setting that changed."""
    flat_before, flat_now = dict(_flat(before)), dict(_flat(now))
    return [
        f'{key}: {flat_before.get(key, "not set")} in the checkpoint, {flat_now.get(key, "not set")} now'
        for key in sorted(flat_before.keys() | flat_now.keys())
        if flat_before.get(key) != flat_now.get(key)
    ]


def _flat(node, path: str = '') -> Iterator[tuple[str, object]]:
    if isinstance(node, Mapping | list) and node:
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _flat(value, f'{path}.{key}' if path else str(key))
    else:
        yield path, node


def read_record(runner, checkpoint: Mapping, source: str) -> dict:
    """The record of a checkpoint, with `changed`: whether training goes on with other settings.

    Raises:
        ValueError: Settings changed, and `resume_changed` of the config does not allow it.
    """
    record = checkpoint.get(KEY)
    if record is None:
        runner.logger.warning(f'{source} was not written by DetroveRunner: the random generators start anew, and '
                              'whether the schedule changed cannot be told.')
        return dict(_UNKNOWN, changed=False)
    changed = differences(json.loads(record['settings']), run_settings(runner))
    if changed and not runner.cfg.get('resume_changed'):
        raise ValueError(
            f'--resume: {source} was trained with other settings:' + ''.join(f'\n  {line}' for line in changed)
            + '\nGive the former values, or choose those of now with --resume-changed.'
        )
    if changed:
        runner.logger.warning('resumed with other settings:' + ''.join(f'\n  {line}' for line in changed))
    return dict(record, changed=bool(changed))


def put_random_states(record: Mapping) -> None:
    """Have this process draw on as when the checkpoint was written; not if there were more or fewer processes."""
    states = record['random']
    if states is not None and len(states) == get_world_size():
        put_random_state(states[get_rank()])


def take_settings_of_now(runner, fresh_groups: list[Mapping], fresh_schedules: list[Mapping]) -> None:
    """Give optimiser and schedules, already filled from a checkpoint, the values of the config at this point.

    Args:
        runner: With `resumed`.
        fresh_groups: Settings of the optimiser's groups before the checkpoint was read, see `group_settings`.
        fresh_schedules: State of the schedulers then.
    """
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        raise ValueError('--resume-changed knows one optimiser, and this config has several: give the former values')
    loop = runner.train_loop
    length = json.loads(runner.resumed['settings'])['iterations_per_epoch']
    if length != len(loop.dataloader) and isinstance(loop, EpochBasedTrainLoop):
        loop._iter = round(loop._iter / length * len(loop.dataloader))
        loop._epoch = loop._iter // len(loop.dataloader)
        runner.logger.warning(f'an epoch has {len(loop.dataloader)} iterations, before {length}: training goes on at '
                              f'iteration {loop._iter}; some images of epoch {loop._epoch + 1} may come twice or not')
    for group, fresh in zip(runner.optim_wrapper.param_groups, fresh_groups, strict=True):
        group.update(fresh)
    schedulers = runner.param_schedulers or []
    for scheduler, state in zip(schedulers, fresh_schedules, strict=True):
        scheduler.load_state_dict(state)
    for step in range(1, loop._iter + 1):
        ends_epoch = step % len(loop.dataloader) == 0
        for scheduler in schedulers:
            if not scheduler.by_epoch or ends_epoch:
                scheduler.step()


def group_settings(optim_wrapper) -> list[dict]:
    """The settings of an optimiser's groups without their parameters; none for several optimisers."""
    if not isinstance(optim_wrapper, OptimWrapper):
        return []
    return [
        {key: value.clone() if torch.is_tensor(value) else value for key, value in group.items() if key != 'params'}
        for group in optim_wrapper.param_groups
    ]
