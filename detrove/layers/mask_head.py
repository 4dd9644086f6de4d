"""Instance masks from the queries of any decoder."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from .memory import Memory
from .mlp import MLP
from .precision import at_least_fp32

MAX_PIXELS = 2**25  # of masks in original size that are made at once: 128 MiB in float32


@MODELS.register_module()
class QueryMaskHead(nn.Module):
    """One mask per query: a perceptron makes an embedding of the query, whose product with the pixels' is the mask.

    MaskFormer (Cheng et al. 2021), with the pixel embeddings of Mask DINO (Li et al. 2023), section 3.2: the finest
    level of the memory, enlarged, plus the backbone's map of stride 4. Detection is as without masks.

    Mask DINO learns masks at all places where it learns boxes. So does this head after every decoder layer, in the main
    branch and, if there is one, in denoising; layers share the perceptron, as they do there. Encoder predictions get no
    masks, for no box here starts from a mask; neither do one-to-many branches and further groups, where each object
    would cost k or K - 1 times the masks while the decoder that makes them is the same.

    Args:
        in_channels: channels of the backbone's first output, which then goes to this head alone, while the neck gets
            the others; None to give all outputs to the neck and to take the finest level of the memory at its own
            stride.
        criterion: config of losses and matching costs.
        embed_dims: given by the detector; a multiple of 32, the groups of the norms.
    """

    supervised_branches = ('main', 'dn')

    def __init__(self, *, in_channels: int | None = None, criterion: dict | None = None, embed_dims: int = 256):
        super().__init__()
        self.in_channels = in_channels
        self.lateral = None
        if in_channels is not None:
            self.lateral = _conv_norm(in_channels, embed_dims, 1)
        self.output = _conv_norm(embed_dims, embed_dims, 3)
        self.project = nn.Conv2d(embed_dims, embed_dims, 1)
        self.embed = MLP(embed_dims, embed_dims, embed_dims, num_layers=3)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
        nn.init.zeros_(self.project.bias)
        self.criterion = MODELS.build({'type': 'PointMaskCriterion', **(criterion or {})})

    def split_maps(self, maps: Sequence[Tensor]) -> tuple[Tensor | None, Sequence[Tensor]]:
        """The backbone's outputs, finest first -> the one that belongs to this head, if any, and those of the neck.

        Raises:
            ValueError: if the first has not `in_channels` channels.
        """
        if self.lateral is None:
            return None, maps
        if maps[0].shape[1] != self.in_channels:
            raise ValueError(f'mask_branch.in_channels={self.in_channels}, but the first output of the backbone has '
                             f'{maps[0].shape[1]} channels. It is for the mask branch alone: let backbone.out_indices '
                             f'name one stage more than the neck takes.')
        return maps[0], maps[1:]

    def pixels(self, memory: Memory, backbone_map: Tensor | None) -> Tensor:
        """The pixels' embeddings (B, D, h, w).

        Args:
            memory: the encoder's memory.
            backbone_map: (B, in_channels, h, w); None for a head without `in_channels`.
        """
        x = memory.finest_map
        if self.lateral is not None:
            lateral = self.lateral(backbone_map)
            x = lateral + F.interpolate(x, lateral.shape[-2:], mode='bilinear', align_corners=False)
        return self.project(F.relu(self.output(x), inplace=True))

    def predict(self, queries: Tensor, pixels: Tensor, *, input_hw: tuple[int, int], image_hw: tuple[int, int],
                output_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Masks of one image.

        Args:
            queries: (N, C), what the heads see of the last decoder layer.
            pixels: (D, h, w), which covers the padded input.
            input_hw, image_hw: sizes of the padded input, and of the image in its upper left corner.
            output_hw: size that the image's part of the masks is brought to, (H, W).

        Returns:
            masks (N, H, W) bool, and quality (N,): mean probability of the cells that a mask holds, 0 for an empty
            mask. Mask DINO multiplies scores by it to rank masks.
        """
        logits = at_least_fp32(self.embed(queries)) @ at_least_fp32(pixels).flatten(1)
        inside = logits > 0
        quality = (logits.sigmoid() * inside).sum(-1) / inside.sum(-1).clamp(min=1)
        grid = _output_grid(input_hw, image_hw, output_hw, logits)
        chunk = max(1, MAX_PIXELS // (output_hw[0] * output_hw[1]))
        masks = [F.grid_sample(part[None], grid, padding_mode='border', align_corners=False)[0] > 0
                 for part in logits.unflatten(1, pixels.shape[1:]).split(chunk)]
        return torch.cat(masks), quality


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    # norms have "norm" in their names, by which optimiser settings find them
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.GroupNorm(32, out_channels)))


def _output_grid(input_hw, image_hw, output_hw, like: Tensor) -> Tensor:
    """Where the centre of each output pixel lies in the padded input, (1, H, W, 2) in [-1, 1] for grid_sample."""
    y, x = ((torch.arange(out, device=like.device, dtype=like.dtype) + 0.5) / out * (2 * image / full) - 1
            for out, image, full in zip(output_hw, image_hw, input_hw, strict=True))
    return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)[None]
