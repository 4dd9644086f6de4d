"""What a person can do when a training step does not fit into memory."""

from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed

from .signatures import accepted_arguments, find_registered

_CHECKPOINTING = ('with_cp', 'use_checkpoint', 'with_checkpoint', 'checkpointing')
_NAMED = 8  # images in a message


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or torch on the CPU, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def explain_out_of_memory(runner, data_batch, error: BaseException) -> str:
    """The sizes of the batch, the memory in use, and the settings that need less."""
    lines = [f'iteration {runner.iter + 1}: out of memory. {str(error).partition(chr(10))[0]}',
             *_batch_lines(data_batch), *_device_lines(), 'it would need less with ' + '; '.join(ways_out(runner.cfg)),
             'continue with --resume once it fits; --resume-changed where the batch size differs']
    return '\n  '.join(lines)


def ways_out(cfg: Config) -> Iterator[str]:
    """Settings that would need less memory, each a key to set or an option."""
    wrapper = cfg.get('optim_wrapper') or {}
    if 'Amp' not in wrapper.get('type', '') and 'float16' not in wrapper.get('type', ''):
        yield '--amp'
    batch = (cfg.get('train_dataloader') or {}).get('batch_size', 1)
    if batch > 1:
        half = batch // 2
        counts = -(-batch // half) * wrapper.get('accumulative_counts', 1)
        yield (f'train_dataloader.batch_size={half} (and optim_wrapper.accumulative_counts={counts} for the same '
               'step)')
    name = checkpointing_argument(cfg)
    if name:
        yield f'model.backbone.{name}=True (slower)'
    if not cfg.get('activation_checkpointing'):
        yield 'activation_checkpointing=True (slower)'
    if is_distributed() and not cfg.get('fsdp'):
        yield 'fsdp=True (weights and optimiser state shared out over the processes)'
    yield 'smaller images in train_dataloader.dataset.pipeline'
    if torch.cuda.is_available():
        yield 'PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True in the environment where sizes vary'


def checkpointing_argument(cfg: Config) -> str | None:
    """The argument of the backbone that computes activations again in place of keeping them, unless it is set."""
    backbone = cfg.model.get('backbone') or {}
    target = find_registered(backbone.get('type'), ('MODELS',), cfg.get('default_scope') or 'mmengine')
    accepted = accepted_arguments(target) if target is not None else None
    name = next((name for name in _CHECKPOINTING if name in (accepted or ())), None)
    return None if name is None or backbone.get(name) else name


def _batch_lines(data_batch) -> Iterator[str]:
    images = data_batch.get('inputs') if isinstance(data_batch, dict) else None
    if images is None:
        return
    shapes = [tuple(image.shape) for image in images]
    yield (f'{len(shapes)} images, height x width: '
           + ', '.join(f'{shape[-2]} x {shape[-1]}' for shape in shapes[:_NAMED]) + (', ...' if shapes[_NAMED:] else '')
           + f'; padded together {max(shape[-2] for shape in shapes)} x {max(shape[-1] for shape in shapes)}')
    samples = data_batch.get('data_samples') or ()
    counts = [len(sample.gt_instances) for sample in samples if 'gt_instances' in sample]
    if counts:
        yield f'objects: {sum(counts)}, at most {max(counts)} in an image'


def _device_lines() -> Iterator[str]:
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        giga = [f'{number / 2**30:.1f} GB' for number in
                (total, free, torch.cuda.max_memory_allocated(), torch.cuda.memory_reserved())]
        yield f'GPU: {giga[0]}, {giga[1]} free; tensors at most {giga[2]}, held by torch {giga[3]}'
