"""Convolution at chosen places only (guided anchoring, arXiv:1901.03278): gather the patches, put the results
back."""

import torch.nn.functional as F


def masked_im2col_forward(im, mask_h_idx, mask_w_idx, col, kernel_h, kernel_w, pad_h, pad_w):
    """Fill col (C * kernel_h * kernel_w, n) with the patches of im (1, C, H, W) at the n places."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    patches = padded.unfold(1, kernel_h, 1).unfold(2, kernel_w, 1)[:, mask_h_idx, mask_w_idx]
    col.copy_(patches.permute(0, 2, 3, 1).reshape(col.shape))


def masked_col2im_forward(col, mask_h_idx, mask_w_idx, im, height, width, channels):
    """Write col (C, n) into im (1, C, height, width) at the n places and leave the rest as it is."""
    im[0, :, mask_h_idx, mask_w_idx] = col
