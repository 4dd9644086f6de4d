"""What the processes of one training must have alike."""

from mmengine.dist import all_gather_object, broadcast, get_world_size
from torch.utils.data import DataLoader

from .bare_model import averaged_models, bare_model


def share_buffers(runner) -> None:
    """Give all processes the buffers of the first one, which are those that its checkpoints have.

    Batch norms that are not synchronised know the images of their own process. In a validation each process would judge
    its images by statistics of its own, and the metrics would be those of no model that is saved.
    """
    if get_world_size() == 1:
        return
    for model in (bare_model(runner.model), *averaged_models(runner)):
        for buffer in model.buffers():
            broadcast(buffer)


def check_epoch(dataloader: DataLoader) -> None:
    """Look at the number of batches of an epoch before training starts.

    Raises:
        ValueError: There are none, or a process has more than another, for which it would wait for ever.
    """
    numbers = all_gather_object(len(dataloader))
    if not max(numbers):
        raise ValueError(
            f'the training set has {len(dataloader.dataset)} images, too few for one batch: '
            f'{getattr(dataloader.batch_sampler, "batch_size", "?")} images in each of {len(numbers)} processes, and '
            'smaller batches are left out. Set train_dataloader.drop_last=False, or a smaller '
            'train_dataloader.batch_size.'
        )
    if len(set(numbers)) > 1:
        raise ValueError(
            'the processes have different numbers of batches in an epoch, and would wait for each other: '
            + ', '.join(f'rank {rank}: {number}' for rank, number in enumerate(numbers))
            + '. Set train_dataloader.sampler.round_up=True, which repeats some images.'
        )
