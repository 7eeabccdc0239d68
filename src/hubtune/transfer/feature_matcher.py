"""The distance between a target's maps and its sources', channel by channel."""

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function

from hubtune.transfer.networks import Observation
from hubtune.transfer.pairs import Layer, Pair


class FeatureMatcher(nn.Module):
    """r of every pair: a 1 x 1 convolution from a target map's channels to a source map's.

    All pairs (m, n) of one target map n share one convolution whose outputs are the channels of their source maps one after another,
    a *row* of C_n = sum_m C_m channels; the numbers are those of one convolution a pair. Rows are named by the target map's position.

    Source: Jang et al. (2019), section 2.1 (r_theta, a pointwise convolution, here with a bias as in the authors' code).

    Args:
        pairs: ordered by target map.
        sources: the maps of each source.
        target: the target's maps.
    """

    def __init__(self, pairs: Sequence[Pair], sources: Sequence[Sequence[Layer]], target: Sequence[Layer]):
        super().__init__()
        self.rows: dict[str, list[Pair]] = {str(n): list(row) for n, row in groupby(pairs, key=lambda pair: pair.target_layer)}
        self._sizes = {n: (target[int(n)].height, target[int(n)].width) for n in self.rows}
        channels = {n: sum(sources[pair.source][pair.source_layer].channels for pair in row) for n, row in self.rows.items()}
        self.convolutions = nn.ModuleDict({n: nn.Conv2d(target[int(n)].channels, c, 1) for n, c in channels.items()})

    def resize(self, sources: Sequence[Observation]) -> dict[str, Float[Tensor, "B _C_n _H_n _W_n"]]:
        """The source maps of each row at the target map's size, bilinear without antialiasing; each is resized once for each size."""
        known: dict[tuple[int, int, tuple[int, int]], Tensor] = {}
        rows = {}
        for n, row in self.rows.items():
            for pair in row:
                key = (pair.source, pair.source_layer, self._sizes[n])
                if key not in known:
                    known[key] = resize_map(sources[pair.source].maps[pair.source_layer], self._sizes[n])
            rows[n] = torch.cat([known[pair.source, pair.source_layer, self._sizes[n]] for pair in row], 1)
        return rows

    def forward(
        self, maps: Sequence[Float[Tensor, "B _C _H _W"]], resized: dict[str, Float[Tensor, "B _C_n _H_n _W_n"]]
    ) -> dict[str, Float[Tensor, "B _C_n"]]:
        """mean_HW (r(T) - S)^2 of every channel of every row."""
        return {n: _MeanSquare.apply(_minus(r(maps[int(n)]), resized[n])) for n, r in self.convolutions.items()}  # pyright: ignore


def _minus(x: Tensor, y: Tensor) -> Tensor:
    """x - y, into x's memory unless y is more precise: nobody else reads what a convolution returns, and these maps are large."""
    return x.sub_(y) if x.dtype == y.dtype else x - y


class _MeanSquare(Function):
    """mean_HW d^2 of every channel; its derivatives keep and pass over fewer maps than those of square and mean."""

    @staticmethod
    def forward(ctx, d):
        ctx.save_for_backward(d)
        return d.square().mean((2, 3))

    @staticmethod
    def backward(ctx, gradient):
        (d,) = ctx.saved_tensors
        return d * (gradient * (2 / d[0, 0].numel()))[:, :, None, None]


def resize_map(x: Float[Tensor, "B C H W"], size: tuple[int, int]) -> Float[Tensor, "B C h w"]:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


def weighted(weights: dict[str, Float[Tensor, "_B _C_n"]], distances: dict[str, Float[Tensor, "B _C_n"]]) -> Float[Tensor, " B"]:
    """L_wfm of each sample: sum over pairs of lambda sum_c w_c distance_c, with lambda w multiplied already."""
    return torch.stack([(weights[n] * distance).sum(1) for n, distance in distances.items()]).sum(0)
