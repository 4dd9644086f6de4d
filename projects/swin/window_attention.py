"""Self-attention inside shifted windows, with learned biases of relative positions."""

from functools import lru_cache, wraps
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function


def cached_unless_compiled(function):
    """Keep what a function of sizes and a device has made; compiled code makes it anew, as part of its graph."""

    @lru_cache(maxsize=32)
    def cached(*args):
        # Cached, so it must serve training later even if this call is made in inference mode.
        with torch.inference_mode(False):
            return function(*args)

    @wraps(function)
    def call(*args):
        return function(*args) if torch.compiler.is_compiling() else cached(*args)

    return call


class Windows(NamedTuple):
    """How the tokens of a batch of maps are put into windows and back.

    A window comes for all images before the next window comes. Those that the shift cuts, whose tokens are from
    opposite borders of the map, stand behind the others.

    Attributes:
        to_windows: (windows x images x tokens,), which token of the maps stands there; 0 where it is padding.
        to_maps: (images x height x width,), where in the windows each token of the maps stands.
        padding: places in the windows that hold no token.
        mask: (windows that are cut, 1, tokens, tokens), 0 for pairs that see each other, -100 for the others.
    """

    to_windows: Tensor
    to_maps: Tensor
    padding: Tensor
    mask: Tensor


@cached_unless_compiled
def make_windows(batch: int, height: int, width: int, size: int, shift: int, device: torch.device) -> Windows:
    """Windows of size x size tokens over maps that are padded at the bottom and the right, then rolled by -shift.

    Which token goes where follows from sizes alone, so that compiled code has no break here.
    """
    num_rows, num_columns = -(-height // size), -(-width // size)
    rows = torch.arange(num_rows * size, device=device)
    columns = torch.arange(num_columns * size, device=device)
    rolled_rows, rolled_columns = ((x - shift) % len(x) for x in (rows, columns))

    num_whole = (num_rows - 1) * (num_columns - 1) if shift else num_rows * num_columns
    rank = torch.arange(num_rows * num_columns, device=device).view(num_rows, num_columns)
    if shift:
        whole, bottom, right = rank.flatten().split([num_whole, num_columns, num_rows - 1])
        whole = whole.view(num_rows - 1, num_columns - 1)
        rank = torch.cat([torch.cat([whole, right[:, None]], 1), bottom[None]])
    window = rank[rolled_rows[:, None] // size, rolled_columns // size]
    inside = rolled_rows[:, None] % size * size + rolled_columns % size

    image = torch.arange(batch, device=device)[:, None, None]
    place = (window * batch + image) * size**2 + inside
    to_maps = place[:, :height, :width].flatten()
    padding = torch.cat([place[:, height:].flatten(), place[:, :height, width:].flatten()])
    to_windows = torch.zeros(place.numel(), dtype=torch.long, device=device)
    to_windows = to_windows.index_copy(0, to_maps, torch.arange(len(to_maps), device=device))

    side = 2 * (rows < shift)[:, None] + (columns < shift)
    sides = torch.zeros_like(side.flatten()).index_copy(0, (window * size**2 + inside).flatten(), side.flatten())
    sides = sides.view(-1, size**2)[num_whole:]
    mask = -100.0 * (sides[:, None, :, None] != sides[:, None, None, :])
    return Windows(to_windows, to_maps, padding, mask)


@cached_unless_compiled
def relative_positions(size: int, device: torch.device) -> Tensor:
    """(tokens x tokens,): row of the table of biases for each pair of query and key in a window of size x size."""
    token = torch.arange(size**2, device=device)
    row, column = (x[:, None] - x + size - 1 for x in (token // size, token % size))
    return (row * (2 * size - 1) + column).flatten()


class _ToWindows(Function):
    """Rows of maps to rows of windows, zeros for padding. Every row is taken once, so the gradient only moves back."""

    @staticmethod
    def forward(ctx, rows: Tensor, to_windows: Tensor, to_maps: Tensor, padding: Tensor) -> Tensor:
        ctx.save_for_backward(to_windows, to_maps, padding)
        rows = rows.index_select(0, to_windows)
        return rows.index_fill_(0, padding, 0) if len(padding) else rows

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _ToMaps.apply(grad, *ctx.saved_tensors), None, None, None


class _ToMaps(Function):
    """Rows of windows to rows of maps; padding is dropped."""

    @staticmethod
    def forward(ctx, rows: Tensor, to_windows: Tensor, to_maps: Tensor, padding: Tensor) -> Tensor:
        ctx.save_for_backward(to_windows, to_maps, padding)
        return rows.index_select(0, to_maps)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _ToWindows.apply(grad, *ctx.saved_tensors), None, None, None


class WindowAttention(nn.Module):
    """Multi-head self-attention among the tokens of a window (Swin Transformer, section 3.2).

    Args:
        dims: channels.
        num_heads: heads; a divisor of `dims`.
        window_size: tokens along each side of a window.
        shifted: move the windows by half of their size.
        shift_small_maps: shift also where one window covers the map's shorter side, see `Swin`.
    """

    def __init__(self, dims: int, *, num_heads: int, window_size: int, shifted: bool, shift_small_maps: bool):
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = window_size // 2 if shifted else 0
        self.shift_small_maps = shift_small_maps
        self.qkv = nn.Linear(dims, 3 * dims)
        self.proj = nn.Linear(dims, dims)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1)**2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dims) -> (B, H, W, dims)."""
        batch, height, width, dims = x.shape
        shift = self.shift if self.shift_small_maps or min(height, width) > self.window_size else 0
        windows = make_windows(batch, height, width, self.window_size, shift, x.device)
        tokens = _ToWindows.apply(x.reshape(-1, dims), *windows[:3])
        qkv = self.qkv(tokens).view(-1, self.window_size**2, 3, self.num_heads, dims // self.num_heads)
        attended = self.proj(self._attend(qkv, windows.mask, batch).flatten(0, 1))
        return _ToMaps.apply(attended, *windows[:3]).view(batch, height, width, dims)

    def _attend(self, qkv: Tensor, mask: Tensor, batch: int) -> Tensor:
        """qkv (windows x images, tokens, 3, heads, head dims) -> (windows x images, tokens, dims)."""
        tokens = qkv.shape[1]
        bias = self.relative_position_bias_table[relative_positions(self.window_size, qkv.device)]
        bias = bias.view(tokens, tokens, -1).permute(2, 0, 1).to(qkv.dtype)
        mask = mask.to(qkv.dtype)
        num_whole = len(qkv) - len(mask) * batch
        if qkv.requires_grad and qkv.device.type == 'cpu':
            return _attend_with_gradient(qkv, bias, mask, num_whole)
        whole, cut = (part.permute(2, 0, 3, 1, 4) for part in (qkv[:num_whole], qkv[num_whole:]))
        outs = []
        if num_whole:
            outs.append(F.scaled_dot_product_attention(*whole, attn_mask=bias.contiguous()[None]))
        if len(mask):
            mask = (mask + bias).repeat_interleave(batch, 0)
            outs.append(F.scaled_dot_product_attention(*cut, attn_mask=mask))
        out = torch.cat([out.transpose(1, 2) for out in outs]) if len(outs) > 1 else outs[0].transpose(1, 2)
        return out.flatten(2)


def _attend_with_gradient(qkv: Tensor, bias: Tensor, mask: Tensor, num_whole: int) -> Tensor:
    """As `scaled_dot_product_attention`, whose way to a gradient on the CPU takes more passes over the scores."""
    count, tokens, _, heads, head_dims = qkv.shape
    q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, -1, tokens, head_dims).unbind(0)
    scores = torch.baddbmm(q.new_empty(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=head_dims**-0.5)
    scores = scores.view(count, heads, tokens, tokens)
    scores += bias
    if len(mask):
        cut = scores[num_whole:].view(len(mask), -1, heads, tokens, tokens)
        cut += mask[:, None]
    out = torch.bmm(scores.softmax(-1).view(-1, tokens, tokens), v)
    return out.view(count, heads, tokens, head_dims).transpose(1, 2).flatten(2)
