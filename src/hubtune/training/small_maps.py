"""Convolutions of wide maps of a few pixels, where most taps of a kernel fall outside of the map, as matrix products of what is inside.

    y_p = sum_t W_t x_{p + t},    dL/dx_q = sum_t W_t^T g_{q - t},    dL/dW_t = sum_p g_p x_{p + t}^T

over taps t and those pixels alone that lie in the map: 16 of the 36 products of a 3 x 3 kernel on 2 x 2 pixels, 100 of 144 on 4 x 4.
Sums run in another order than in torch's own convolution, which on a CPU takes up to four times as long for them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

LEAST_CHANNELS = 128
"""On either side; with fewer there is no gain."""
LARGEST = 2
"""Side of the map in pixels."""
LARGEST_FOR_WEIGHTS = 4
"""The same for the weight's gradient, with which torch's own has most trouble."""


def is_small(x: Tensor, weight: Tensor, options: tuple, largest: int) -> bool:
    """Whether the products are the faster way: on a CPU, for an ungrouped convolution that keeps the size of its map.

    Args:
        x: input, (B, C, H, W).
        weight: (D, C, k, k).
        options: stride, padding, dilation, groups.
        largest: side of the map in pixels.
    """
    (height, width), kernel = x.shape[-2:], weight.shape[-1]
    return (
        x.device.type == "cpu"
        and max(height, width) <= largest
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and weight.shape[-2] == kernel
        and kernel % 2 == 1
        and tuple(map(tuple, options[:3])) == ((1, 1), (kernel // 2, kernel // 2), (1, 1))
        and options[3] == 1
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y (B, D, H, W)."""
    y = _zeros_like(x, len(weight))
    pixels, y_pixels = x.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1)
    for (i, j), outside, inside in _taps(x, weight):
        y_pixels[outside] += pixels[inside] @ weight[:, :, i, j].T
    return y if bias is None else y.add_(bias[:, None, None])


def input_gradient(g: Tensor, weight: Tensor) -> Tensor:
    """dL/dx (B, C, H, W)."""
    gx = _zeros_like(g, weight.shape[1])
    pixels, gx_pixels = g.permute(0, 2, 3, 1), gx.permute(0, 2, 3, 1)
    for (i, j), outside, inside in _taps(g, weight):
        gx_pixels[inside] += pixels[outside] @ weight[:, :, i, j]
    return gx


def weight_gradient(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """dL/dW (D, C, k, k); of weight only the shape matters."""
    channels_out, channels_in, kernel, _ = weight.shape
    g_pixels, x_pixels = g.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
    gw = g.new_zeros(channels_out, kernel, kernel, channels_in)
    for (i, j), outside, inside in _taps(x, weight):
        torch.mm(g_pixels[outside].reshape(-1, channels_out).T, x_pixels[inside].reshape(-1, channels_in), out=gw[:, i, j])
    return gw.permute(0, 3, 1, 2)


def _zeros_like(x: Tensor, channels: int) -> Tensor:
    """Zeros (B, channels, H, W), a pixel's channels side by side; no view, so that a layer that follows may write into it."""
    return x.new_empty(len(x), channels, *x.shape[-2:]).to(memory_format=torch.channels_last).zero_()


def _taps(x: Tensor, weight: Tensor) -> Iterator[tuple[tuple[int, int], tuple[slice, ...], tuple[slice, ...]]]:
    """Each tap with the output pixels that it serves and the input pixels that it reads there, as indices of (B, H, W, ...)."""
    kernel = weight.shape[-1]
    ranges = [[_overlap(size, tap - kernel // 2) for tap in range(kernel)] for size in x.shape[-2:]]
    for i, (rows_out, rows_in) in enumerate(ranges[0]):
        for j, (columns_out, columns_in) in enumerate(ranges[1]):
            if rows_out.start < rows_out.stop and columns_out.start < columns_out.stop:
                yield (i, j), (slice(None), rows_out, columns_out), (slice(None), rows_in, columns_in)


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    """Positions p and p + shift that both lie in 0 ... size - 1."""
    start, stop = max(0, -shift), min(size, size - shift)
    return slice(start, stop), slice(start + shift, stop + shift)
