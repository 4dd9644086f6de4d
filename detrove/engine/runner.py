"""mmengine's Runner, with distributed training on CPUs, safe and reported loading, and exact resuming."""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import mmengine.runner.runner
import torch
from mmengine.config import Config
from mmengine.device import is_cuda_available, is_mlu_available, is_musa_available, is_npu_available
from mmengine.dist import broadcast_object_list, is_distributed, is_main_process
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from detrove.checkpoints import load_weights, match_classes, read_checkpoint
from detrove.layers import use_channels_last

from .bare_model import bare_model
from .blocks import recompute
from .checkpoint_files import choose_checkpoint, damage, whole_or_nothing
from .compile import compile_parts
from .data_order import SeededBatchSampler, seed_samples, seeded_order, start_worker
from .fsdp import GatherHook, ShardHook, whole_states, without_wrapper
from .hooks.checkpoint import PreemptionHook
from .hooks.label_range import LabelRangeHook
from .hooks.log_windows import LogWindowsHook
from .hooks.watchdog import WatchdogHook
from .launchers import export_ranks, join_processes_on_cpu, timeout_of
from .resume import group_settings, read_record, take_settings_of_now
from .schedule import resolve_fractions

_OURS = {
    'CheckpointHook': 'mmengine.WholeCheckpointHook',
    'EpochBasedTrainLoop': 'mmengine.ResumableEpochLoop',
    'IterBasedTrainLoop': 'mmengine.ResumableIterLoop',
}


mmengine.runner.runner.turn_on_activation_checkpointing = recompute  # its own takes no keyword arguments


def has_accelerator() -> bool:
    """Whether mmengine would train on a GPU or one of the other devices for which it has mixed precision."""
    return is_cuda_available() or is_npu_available() or is_mlu_available() or is_musa_available()


def build_runner(cfg: Config) -> Runner:
    """The runner that the config asks for by `runner_type`, `DetroveRunner` where it asks for none."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else DetroveRunner.from_cfg(cfg)


@RUNNERS.register_module()
class DetroveRunner(Runner):
    """mmengine's Runner with these changes.

    Several processes without a GPU talk through gloo, and the one that keeps others waiting is named (`WatchdogHook`).
    Checkpoints are read without running code from them, converted when they come from a paper's official repository,
    and what did not fit is reported in one list.
    A dataset without images is an error. Floats in `param_scheduler` are fractions of the training. Hooks with a
    method `on_exit` have it called however training or testing ends. With `channels_last=True` in the config
    convolutions keep their maps channels last in memory, which CPUs and tensor cores compute faster. Batches come
    from data loading processes in one piece, where the config names no `collate_fn`. `compile` takes the parts of
    a model and not its whole step, see `compile_parts`. `fsdp` shares out the weights over processes, see `ShardHook`,
    and `activation_checkpointing=True` takes every transformer block, see `recompute`.

    With `partial_checkpoint_ok=False` in the config, as testing has it, a checkpoint that does not fill the
    model or was trained on other classes is an error.

    An interrupted training that is resumed ends with the same bits as one that was not (see docs/reliability.md):
    mmengine's loops and CheckpointHook are replaced by ours, the order and augmentation of samples follow from seed
    and position alone, and a checkpoint is written whole or not at all.

    Attributes:
        resumed: What the checkpoint says of the training that goes on (see `detrove.engine.resume`), None at a first
            start.
    """

    resumed: dict | None = None
    _last_start: int | None = None

    def train(self):
        sharding = [ShardHook, GatherHook] if self._is_to_shard() else []
        self._add_hooks(PreemptionHook, LabelRangeHook, LogWindowsHook, *sharding)
        return self._with_exit_hooks(super().train)

    def val(self):
        return self._with_exit_hooks(super().val)

    def test(self):
        return self._with_exit_hooks(super().test)

    def _add_hooks(self, *kinds: type) -> None:
        for kind in kinds:
            if not any(isinstance(hook, kind) for hook in self.hooks):
                self.register_hook(kind())

    def _with_exit_hooks(self, run: Callable):
        self._add_hooks(WatchdogHook)
        try:
            return run()
        finally:
            self.call_hook('on_exit')
            self._end_data_loading()

    def _end_data_loading(self) -> None:
        """End the processes of `persistent_workers`, which outlive the SIGTERM that Python sends them at its exit."""
        for loop in (self._train_loop, self._val_loop, self._test_loop):
            iterator = getattr(getattr(loop, 'dataloader', None), '_iterator', None)
            if iterator is not None:
                iterator._shutdown_workers()
                loop.dataloader._iterator = None

    def setup_env(self, env_cfg: dict) -> None:
        if self.distributed and not is_distributed():
            dist_cfg = env_cfg.get('dist_cfg', {})
            export_ranks(self.launcher, port=dist_cfg.get('port'))
            if not has_accelerator():
                join_processes_on_cpu(timeout=timeout_of(env_cfg))
        # mmengine names logs, histories and drawings by the second, and hands a second run of it those of the first
        while int(time.time()) == DetroveRunner._last_start:
            time.sleep(0.05)
        super().setup_env(env_cfg)
        DetroveRunner._last_start = int(time.time())

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        if deterministic:  # cuBLAS reads this when it starts; without it torch ends training
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        if self.cfg.get('channels_last'):
            model = use_channels_last(model, on_cpu=not has_accelerator())
        if self.distributed and not has_accelerator() and not is_model_wrapper(model):
            defaults = dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
            model_wrapper_cfg = {**(model_wrapper_cfg or defaults), 'device_ids': None}
            synchronised = any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules())
            if self.cfg.get('sync_bn') or synchronised:
                self.logger.warning('sync_bn is left out: torch synchronises batch norms on GPUs only')
                self.cfg.sync_bn = None
                model = revert_sync_batchnorm(model)
        if self._is_to_shard():
            return without_wrapper(model, self.cfg.get('sync_bn'))
        return super().wrap_model(model_wrapper_cfg, model)

    def _is_to_shard(self) -> bool:
        return self.distributed and self.cfg.get('fsdp') not in (None, False)

    def _maybe_compile(self, target: str) -> None:
        # mmengine would compile the whole step, and again for each size of image and number of objects
        options = self.cfg.get('compile')
        if options is None or options is False:
            return
        model = bare_model(self.model)
        parts = compile_parts(model, options)
        self.logger.info(f'torch.compile takes {", ".join(parts)}: the first steps are slow')

    def register_hook(self, hook, priority=None) -> None:
        super().register_hook(_ours_for(hook), priority)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        if isinstance(loop, Mapping):
            loop = _ours_for(loop)
        given = self._train_dataloader
        if isinstance(given, Mapping):
            self._train_dataloader = seeded_order(given)
        try:
            return super().build_train_loop(loop)
        finally:
            self._train_dataloader = given  # mmengine reads the batch size from it

    def build_evaluator(self, evaluator):
        built = super().build_evaluator(evaluator)
        for metric in built.metrics:  # several processes would bring their results together in a folder where we stand
            if getattr(metric, 'collect_device', None) == 'cpu' and metric.collect_dir is None:
                metric.collect_dir = str(Path(self.work_dir) / '.results_of_all_processes')
        return built

    def build_param_scheduler(self, scheduler):
        return super().build_param_scheduler(resolve_fractions(scheduler, self.max_epochs, self.max_iters))

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args, **kwargs) -> DataLoader:
        if isinstance(dataloader, dict):
            dataloader = type(dataloader)({'collate_fn': dict(type='one_piece_collate'), **dataloader})
        try:
            built = Runner.build_dataloader(dataloader, *args, **kwargs)
        except ValueError as error:
            if 'need at least one array' not in str(error):  # mmengine's datasets pack what they hold into one
                raise
            raise ValueError(_no_images(dataloader['dataset'])) from error
        if len(built.dataset) == 0:
            raise ValueError(_no_images(dataloader['dataset'] if isinstance(dataloader, dict) else {}))
        if isinstance(dataloader, dict):
            built.worker_init_fn = partial(start_worker, built.worker_init_fn)
            if built.generator is None:  # each pass over the data would draw from the generator of training
                built.generator = torch.Generator()
        if isinstance(built.batch_sampler, SeededBatchSampler):
            seed_samples(built.dataset)
        return built

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write a checkpoint; on a local disk under another name first, so that it is whole or not there."""
        with whole_states(self):
            if '://' in str(out_dir):
                super().save_checkpoint(out_dir, filename, *args, **kwargs)
            elif is_main_process():
                with whole_or_nothing(Path(out_dir) / filename) as unfinished:
                    super().save_checkpoint(str(out_dir), unfinished.name, *args, **kwargs)

    def load_or_resume(self) -> None:
        if self._resume and not self._has_loaded:
            self._load_from = self._choose_checkpoint(self._load_from)
            self._resume = self._load_from is not None
        super().load_or_resume()

    def _choose_checkpoint(self, named: str | None) -> str | None:
        """The file to resume from: the one that was named, or the last whole one in the work directory."""
        if named is not None:
            problem = damage(Path(named).expanduser()) if Path(named).expanduser().is_file() else None
            if problem:
                raise ValueError(f'--resume {named}: {problem}. --resume without a name takes the last whole '
                                 f'checkpoint in {self.work_dir}.')
            return named
        choice = [choose_checkpoint(Path(self.work_dir)) if is_main_process() else None]
        broadcast_object_list(choice)
        path, problems = choice[0]
        for problem in problems:
            self.logger.warning(f'left out: {problem}')
        self.logger.info(f'--resume: {path}' if path else
                         f'--resume: no checkpoint in {self.work_dir} yet, training starts at the beginning')
        return None if path is None else str(path)

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: It was trained with other settings, and the config does not allow that by `resume_changed`.
        """
        schedulers = self.param_schedulers if isinstance(self.param_schedulers, list) else []
        fresh = group_settings(self.optim_wrapper), [dict(scheduler.state_dict()) for scheduler in schedulers]
        self._resume = True  # this may be called from outside, without `resume=True` in the config
        super().resume(filename, *args, **kwargs)
        batches = self.train_loop.dataloader.batch_sampler
        if isinstance(batches, SeededBatchSampler) and self.resumed['sampler_seed'] is not None:
            batches.sampler.seed = self.resumed['sampler_seed']
        if self.resumed['changed']:
            take_settings_of_now(self, *fresh)

    def load_checkpoint(
        self, filename: str, map_location='cpu', strict: bool = False, revise_keys=((r'^module\.', ''),)
    ) -> dict:
        """Load weights from a file or URL; see `read_checkpoint` and `load_weights` for what is refused."""
        model = bare_model(self.model)
        checkpoint = read_checkpoint(
            filename,
            map_location=map_location,
            allow_unsafe=self.cfg.get('allow_unsafe_checkpoint', False),
            revise_keys=revise_keys,
        )
        if self._resume:
            self.resumed = read_record(self, checkpoint, filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        complete = strict or not self.cfg.get('partial_checkpoint_ok', True)
        # A checkpoint that continues this training, or is tested as it is, is taken as it is.
        by_name = not (complete or self._resume)
        classes = self._class_names() if by_name else None
        weights, rows = match_classes(model, checkpoint, classes, self.cfg.get('model'))
        report = load_weights(model, weights, source=filename, must_be_complete=complete)
        if complete:
            self._check_classes(checkpoint, filename)
        self._has_loaded = True
        self.logger.info('\n'.join(map(str, filter(None, (report, rows)))))
        return checkpoint

    def _class_names(self) -> list[str] | None:
        """Classes of the data that the runner trains on, or else evaluates on."""
        loops = (self._train_loop, self._val_loop, self._test_loop)
        dataset = next((loop.dataloader.dataset for loop in loops if isinstance(loop, BaseLoop)), None)
        names = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        return [names] if isinstance(names, str) else None if names is None else list(names)

    def _check_classes(self, checkpoint: dict, filename: str) -> None:
        """The classes that a checkpoint was trained on, where it says so, must be those that are tested."""
        trained = (checkpoint.get('meta') or {}).get('dataset_meta', {}).get('classes')
        tested = self.test_dataloader.dataset.metainfo.get('classes')
        if trained and tested and list(trained) != list(tested):
            raise ValueError(
                f'{filename} was trained on other classes than those of the test set.\n'
                f'  classes of the checkpoint ({len(trained)}): {list(trained)}\n'
                f'  classes of the test set ({len(tested)}): {list(tested)}\n'
                'Set metainfo.classes of test_dataloader.dataset to those of the checkpoint, or pass '
                '--allow-partial.'
            )


def _ours_for(settings):
    """The config of a hook or loop of mmengine, with the class that takes its place here; others as they are."""
    if not isinstance(settings, Mapping):
        return settings
    by_epoch = settings.get('by_epoch') if 'type' not in settings else None
    if by_epoch is not None:
        rest = {key: value for key, value in settings.items() if key != 'by_epoch'}
        return dict(rest, type=_OURS['EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'])
    name = settings['type'] if isinstance(settings['type'], str) else settings['type'].__name__
    ours = _OURS.get(name.removeprefix('mmengine.'))
    return settings if ours is None else dict(settings, type=ours)


def _no_images(dataset: dict) -> str:
    settings = {key: dataset[key] for key in ('ann_file', 'data_root', 'metainfo', 'filter_cfg') if key in dataset}
    return (
        f'{dataset.get("type", "the dataset")} has no images. Check that its file lists images, that the category '
        f'names in it are among the classes, and that filter_cfg does not remove every image: {settings}'
    )
