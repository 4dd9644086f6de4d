"""Multi-scale deformable attention as a module; the sampling itself is `detrove.ops.ms_deform_attn`."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detrove.ops import ms_deform_attn

from .memory import Memory
from .plain import is_plain_on_cpu, is_replaceable
from .precision import at_least_fp32

# Where it pays to project samples and not all tokens, see docs/performance.md.
_MULTIPLICATIONS = 2**27  # of the tokens' projection
_OF_A_SAMPLE = 4  # how many of them take as long as one multiplication and addition of a sampled row


class MSDeformableAttention(nn.Module):
    """Each query samples a few learned positions around its reference on every feature level.

    Deformable DETR (Zhu et al. 2021), section 4.1; different numbers of points per level and discrete sampling as in
    RT-DETRv2 (Lv et al. 2024), section 3.

    Args:
        embed_dims: channels, divisible by num_heads.
        num_heads: number of heads.
        num_levels: number of feature levels.
        num_points: points per head and level, one number for all levels or one for each.
        offset_scale: a point's offset of one stands for this share of the box's width and height, divided by the
            number of points on its level.
        method: 'default' (bilinear sampling) or 'discrete': the nearest cell, for targets without GridSample. Offsets
            then have no gradient and stay as they are.
    """

    def __init__(self, *, embed_dims: int = 256, num_heads: int = 8, num_levels: int = 3,
                 num_points: int | Sequence[int] = 4, offset_scale: float = 0.5, method: str = 'default'):
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims={embed_dims} must be divisible by num_heads={num_heads}.')
        self.num_points = (num_points,) * num_levels if isinstance(num_points, int) else tuple(num_points)
        if len(self.num_points) != num_levels:
            raise ValueError(f'num_points={self.num_points} must give one number for each of {num_levels} levels.')
        if method not in ('default', 'discrete'):
            raise ValueError(f"method={method!r} must be 'default' or 'discrete'.")
        self.num_heads = num_heads
        self.method = method
        total_points = num_heads * sum(self.num_points)
        self.sampling_offsets = nn.Linear(embed_dims, total_points * 2)
        self.attention_weights = nn.Linear(embed_dims, total_points)
        self.value_proj = nn.Linear(embed_dims, embed_dims)
        self.output_proj = nn.Linear(embed_dims, embed_dims)
        share = [offset_scale / n for n in self.num_points for _ in range(n)]
        self.register_buffer('offset_share', torch.tensor(share)[:, None], persistent=False)
        level_of_point = [level for level, n in enumerate(self.num_points) for _ in range(n)]
        self.register_buffer('level_of_point', torch.tensor(level_of_point), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Offsets start on a ring of `num_heads` directions at distances 1, 2, ...; weights start equal."""
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        distances = torch.cat([torch.arange(1, n + 1, dtype=torch.float32) for n in self.num_points])
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((directions[:, None] * distances[:, None]).flatten())
        for linear in (self.attention_weights, self.value_proj, self.output_proj):
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.xavier_uniform_(self.value_proj.weight)
        nn.init.xavier_uniform_(self.output_proj.weight)
        if self.method == 'discrete':
            self.sampling_offsets.requires_grad_(False)

    def forward(self, query: Tensor, reference: Tensor, memory: Memory) -> Tensor:
        """Sample `memory` around the references.

        Args:
            query: (B, Q, C), position included.
            reference: (B or 1, Q, 4) boxes cxcywh or (B or 1, Q, 2) points xy, as shares of the image. Around a box
                offsets are measured by its size, around a point in cells of the level.
            memory: the feature levels; nothing is read from their padding. With `tokens_and_one`, samples are
                projected and not the tokens, which gives the same (see `samples_first`).

        Returns:
            (B, Q, C).
        """
        locations, weights = self.sampling_points(query, reference, memory)
        if memory.tokens_and_one is not None:
            return self.output_proj(self._projected_samples(memory, locations, weights))
        value = self.value_proj(memory.tokens)
        if memory.padding is not None:
            value = value.masked_fill(memory.padding[..., None], 0.0)
        value = value.unflatten(-1, (self.num_heads, -1))
        sampled = ms_deform_attn(value, memory.spatial_shapes, locations, weights, num_points=self.num_points,
                                 method=self.method)
        return self.output_proj(sampled)

    def samples_first(self, tokens: Tensor, num_queries: int) -> bool:
        """Whether sampling before the projection is faster: few queries look at many tokens, in float32 on a CPU."""
        if not is_replaceable(self.value_proj, nn.Linear) or not is_plain_on_cpu(tokens, self.value_proj.weight):
            return False
        _, num_tokens, channels = tokens.shape
        rows = 4 * num_queries * self.num_heads * sum(self.num_points)  # four cells make a sample
        multiplications = num_tokens * channels**2
        return multiplications >= _MULTIPLICATIONS and multiplications >= _OF_A_SAMPLE * rows * channels

    def _projected_samples(self, memory: Memory, locations: Tensor, weights: Tensor) -> Tensor:
        """What sampling projected tokens gives, with the projection, which is linear, after the sampling: (B, Q, C).

        Every head samples whole tokens, for all heads are one to the operator, and takes its rows of the projection.
        """
        rows = memory.tokens_and_one
        projection = torch.cat([self.value_proj.weight, self.value_proj.bias[:, None]], 1)
        projection = F.pad(projection, (0, rows.shape[-1] - projection.shape[-1]))
        sampled = ms_deform_attn(
            rows[:, :, None], memory.spatial_shapes, locations.flatten(1, 2)[:, :, None],
            weights.flatten(1, 2)[:, :, None], num_points=self.num_points, method=self.method)
        sampled = sampled.unflatten(1, (-1, self.num_heads))
        return torch.einsum('bqhc,hdc->bqhd', sampled, projection.unflatten(0, (self.num_heads, -1))).flatten(2)

    def sampling_points(self, query: Tensor, reference: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Where queries sample, (B, Q, heads, K, 2) as shares of the padded levels, and weights (B, Q, heads, K)."""
        offsets = at_least_fp32(self.sampling_offsets(query)).unflatten(-1, (self.num_heads, -1, 2))
        weights = at_least_fp32(self.attention_weights(query)).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        return self._locations(offsets, reference, memory), weights

    def _locations(self, offsets: Tensor, reference: Tensor, memory: Memory) -> Tensor:
        """offsets (B, Q, heads, K, 2) -> sampling locations, the same shape, as shares of the padded levels."""
        reference = at_least_fp32(reference)[:, :, None, None]
        ratios = memory.valid_ratios
        if ratios is not None:
            ratios = ratios.repeat(1, 1, reference.shape[-1] // 2)[:, self.level_of_point]
            reference = reference * ratios[:, None, None]
        if reference.shape[-1] == 4:
            return reference[..., :2] + offsets * self.offset_share * reference[..., 2:]
        return reference + offsets / memory.level_wh[self.level_of_point]
