"""The meta-networks: what to transfer (f, the channels) and where (g, the pairs)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hubtune.transfer.feature_matcher import FeatureMatcher
from hubtune.transfer.networks import Observation
from hubtune.transfer.pairs import Layer, Pair

LARGEST_AMOUNT = 6.0
"""Of ReLU6."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What the meta-networks decide for each image of a batch."""

    channels: dict[str, list[Float[Tensor, "B _C_m"]]]
    """w of each pair of each row, summing to one over channels."""
    pairs: dict[str, Float[Tensor, "B _P_n"]]
    """lambda of each pair of each row, in [0, 6]."""

    def rows(self) -> dict[str, Float[Tensor, "B _C_n"]]:
        """lambda w, over the channels of each row."""
        return {n: torch.cat([self.pairs[n][:, p, None] * w for p, w in enumerate(ws)], 1) for n, ws in self.channels.items()}


class MetaNetworks(nn.Module):
    """f and g of every pair: one linear layer each on the globally pooled source map.

    w = softmax(f(S)) with f zero at first, so that w = 1 / C; lambda = relu6(g(S)) with bias 1 at first, or lambda = 1 without g.

    Source: Jang et al. (2019), section 2.1 and 3.1, "Meta-network architecture"; the initial values from the authors' code.

    Args:
        matcher: whose pairs are weighed.
        sources: the maps of each source.
        where: whether there is a g (L2T-ww) or not (L2T-w).
        bias: of g at first, in (0, 6): outside, ReLU6 passes no gradient.
    """

    def __init__(self, matcher: FeatureMatcher, sources: Sequence[Sequence[Layer]], *, where: bool, bias: float = 1.0):
        super().__init__()
        self._rows = matcher.rows
        channels = {n: [sources[pair.source][pair.source_layer].channels for pair in row] for n, row in matcher.rows.items()}
        self.f = nn.ModuleDict({n: nn.ModuleList(nn.Linear(c, c) for c in row) for n, row in channels.items()})
        self.g = nn.ModuleDict({n: nn.ModuleList(nn.Linear(c, 1) for c in row) for n, row in channels.items()} if where else {})
        for row in self.f.values():
            for layer in row:  # pyright: ignore[reportGeneralTypeIssues]
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        for row in self.g.values():
            for layer in row:  # pyright: ignore[reportGeneralTypeIssues]
                nn.init.constant_(layer.bias, bias)

    @property
    def pairs(self) -> list[Pair]:
        """All pairs, row by row."""
        return [pair for row in self._rows.values() for pair in row]

    def pool(self, sources: Sequence[Observation]) -> dict[str, list[Float[Tensor, "B _C_m"]]]:
        """The mean over pixels of each pair's source map; each is computed once."""
        known = {(pair.source, pair.source_layer) for pair in self.pairs}
        pooled = {(s, m): sources[s].maps[m].mean((2, 3)) for s, m in known}
        return {n: [pooled[pair.source, pair.source_layer] for pair in row] for n, row in self._rows.items()}

    def forward(self, pooled: dict[str, list[Float[Tensor, "B _C_m"]]]) -> Amounts:
        channels, amounts = {}, {}
        for n, row in pooled.items():
            channels[n] = [F.softmax(f(x), 1) for f, x in zip(self.f[n], row, strict=True)]  # pyright: ignore[reportArgumentType]
            if self.g:
                amounts[n] = F.relu6(torch.cat([g(x) for g, x in zip(self.g[n], row, strict=True)], 1))  # pyright: ignore[reportArgumentType]
            else:
                amounts[n] = row[0].new_ones(len(row[0]), len(row))
        return Amounts(channels=channels, pairs=amounts)


class Statistics(nn.Module):
    """What the meta-networks decided over a training, by twentieths of it: for the record, and for Figure 4 of the paper.

    Args:
        meta: whose amounts are counted.
    """

    PARTS = 20
    TOP_CHANNELS = 5

    def __init__(self, meta: MetaNetworks):
        super().__init__()
        count = len(meta.pairs)
        self.register_buffer("images", torch.zeros(self.PARTS, 1, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(self.PARTS, count, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(self.PARTS, count, dtype=torch.float64))
        self.channels = nn.ParameterList(
            nn.Parameter(torch.zeros(self.PARTS, f.in_features, dtype=torch.float64), requires_grad=False)  # pyright: ignore
            for row in meta.f.values()
            for f in row  # pyright: ignore[reportGeneralTypeIssues]
        )

    @torch.no_grad()
    def add(self, amounts: Amounts, progress: float) -> None:
        """Count one batch."""
        part = min(int(progress * self.PARTS), self.PARTS - 1)
        pairs = torch.cat(list(amounts.pairs.values()), 1).double()
        self.get_buffer("images")[part] += len(pairs)
        self.get_buffer("sums")[part] += pairs.sum(0)
        self.get_buffer("squares")[part] += pairs.square().sum(0)
        for total, w in zip(self.channels, (w for ws in amounts.channels.values() for w in ws), strict=True):
            total[part] += w.sum(0)

    def summary(self) -> tuple[list[float], list[dict[str, Any]]]:
        """Where in the training images were seen, in (0, 1), and one dictionary a pair: mean and standard deviation of lambda over the
        images seen there, and the channels with most weight in the last of these parts."""
        images, sums, squares = (self.get_buffer(name).cpu() for name in ("images", "sums", "squares"))
        # Parts in which no step fell hold no images.
        seen = images[:, 0].nonzero().flatten()
        mean = sums[seen] / images[seen]
        std = (squares[seen] / images[seen] - mean.square()).clamp_min(0).sqrt()
        rows = []
        for p, channels in enumerate(self.channels):
            share = channels.cpu()[seen[-1:]].sum(0) / images[seen[-1:]].sum().clamp_min(1)
            top = share.topk(min(self.TOP_CHANNELS, len(share))).indices.tolist()
            rows.append(
                {
                    "lambda_mean": mean[:, p].tolist(),
                    "lambda_std": std[:, p].tolist(),
                    "channels": len(share),
                    "top_channels": [[c, float(share[c])] for c in top],
                }
            )
        return [(int(part) + 0.5) / self.PARTS for part in seen], rows
