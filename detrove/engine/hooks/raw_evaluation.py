"""Evaluating the weights that training moves beside their moving average."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, autocast
from mmengine.runner.checkpoint import save_checkpoint, weights_to_cpu

from detrove.engine.bare_model import bare_model
from detrove.engine.checkpoint_files import whole_or_nothing

RAW = 'raw/'


@HOOKS.register_module()
class RawEvaluationHook(Hook):
    """Validate the raw weights after their average (`EMAHook`), and keep the best and the last of them.

    Their metrics have `raw/` in front and go where the others go. `raw_best_epoch_N.pth` and `raw_last_epoch_N.pth`
    (or `iter_N`) in the work directory hold the raw weights alone; the checkpoints of `CheckpointHook` load as the
    average. The best is chosen by the metric of `save_best`; there is none where the config has no `save_best`. The
    config key `evaluate_raw=True` adds this hook; each validation then takes twice as long.

    Raises:
        ValueError: Before training, if there is no `EMAHook`: the weights are the raw ones then.
    """

    priority = 55  # after EMAHook (50) has put the raw weights back, before LoggerHook (60) writes the metrics

    def before_train(self, runner) -> None:
        if not any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise ValueError('evaluate_raw=True: custom_hooks has no EMAHook, so that the weights evaluated are the '
                             'raw ones already. Leave evaluate_raw out.')

    def after_val_epoch(self, runner, metrics=None) -> None:
        if metrics is None:
            return
        runner.logger.info('and now the raw weights')
        raw = {f'{RAW}{name}': value for name, value in self._evaluate(runner).items()}
        metrics.update(raw)
        for name, value in raw.items():
            if isinstance(value, (int, float)):
                runner.message_hub.update_scalar(f'val/{name}', value)
            else:
                runner.message_hub.update_info(f'val/{name}', value)
        self._keep_best(runner, metrics)

    def after_train(self, runner) -> None:
        self._save(runner, 'last')

    @torch.no_grad()
    def _evaluate(self, runner) -> dict:
        loop = runner.val_loop
        runner.model.eval()
        for batch in loop.dataloader:
            with autocast(enabled=loop.fp16):
                samples = runner.model.val_step(batch)
            loop.evaluator.process(data_samples=samples, data_batch=batch)
        return loop.evaluator.evaluate(len(loop.dataloader.dataset))

    def _keep_best(self, runner, metrics: dict) -> None:
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if hook is None or hook.save_best is None:
            return
        name = hook.key_indicators[0]
        name = next(iter(metrics)) if name == 'auto' else name
        if f'{RAW}{name}' not in metrics:
            return
        value = float(metrics[f'{RAW}{name}'])
        lower_is_better = 'less' in hook.rules or any(key in name.lower() for key in hook.less_keys)
        best = runner.message_hub.get_info('raw_best_score')
        if best is None or (value < best if lower_is_better else value > best):
            runner.message_hub.update_info('raw_best_score', value)
            self._save(runner, 'best')

    def _save(self, runner, which: str) -> None:
        """Write the weights and delete the file that this one takes the place of."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        number = f'epoch_{runner.epoch}' if by_epoch else f'iter_{runner.iter}'
        path = Path(runner.work_dir) / f'raw_{which}_{number}.pth'
        old = runner.message_hub.get_info(f'raw_{which}_ckpt')
        runner.message_hub.update_info(f'raw_{which}_ckpt', str(path))
        if not is_main_process():
            return
        model = bare_model(runner.model)
        meta = dict(epoch=runner.epoch, iter=runner.iter)
        classes = getattr(runner.train_dataloader.dataset, 'metainfo', None)
        if classes is not None:
            meta['dataset_meta'] = classes
        with whole_or_nothing(path) as unfinished:
            save_checkpoint(dict(meta=meta, state_dict=weights_to_cpu(model.state_dict())), str(unfinished))
        if old is not None and Path(old) != path:
            Path(old).unlink(missing_ok=True)


def add_raw_evaluation(cfg: Config) -> None:
    """Add the hook where the config has `evaluate_raw=True`."""
    if cfg.get('evaluate_raw'):
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='RawEvaluationHook')]
