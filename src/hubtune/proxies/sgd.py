"""SGD of softmax regression on frozen features, for all seeds and learning rates at once, in the cheaper of two coordinates."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import ConfigurationError, DataError
from hubtune.proxies.prepared import check_labels, check_rows


def linear_fit(
    features: Float[Tensor, "N D"],
    labels: Int[Tensor, " N"],
    num_classes: int,
    *,
    learning_rates: Sequence[float],
    steps: int,
    batch_size: int,
    momentum: float,
    seeds: Sequence[int],
) -> tuple[Float[Tensor, "S R C D"], Float[Tensor, "S R C"]]:
    """Softmax regressions by SGD with momentum, all S seeds and R learning rates in the same products.

    For a run with weights and bias Θ (C, D + 1), rows x̃ = (x, 1) and a minibatch of B rows,

        E = softmax(Θ X̃_Bᵀ) - Y_Bᵀ (C, B),   M <- momentum M + E X̃_B / B,   Θ <- Θ - rate M,   Θ_0 = M_0 = 0,

    torch.optim.SGD without weight decay. From a zero start every iterate is Θ = A X̃ with A (C, N), so the same run in the coordinates A is

        E = softmax(A G_B) - Y_Bᵀ,   M_B <- momentum M_B + E / B (elsewhere M <- momentum M),   A <- A - rate M,

    G = X Xᵀ + 1 (N, N), exactly: a step costs 2 C B N operations and not 4 C B (D + 1). Whichever is less is done. The learning rates of
    one seed see the same minibatches (see minibatches), so their rows are gathered once.

    Args:
        features: (N, D); float64 trains in float64, all others in float32.
        labels: (N,) whole numbers below num_classes.
        num_classes: C.
        learning_rates: R of them.
        steps: SGD steps of each run.
        batch_size: images in a minibatch, if there are so many.
        momentum: 0 <= momentum < 1.
        seeds: S of them.

    Returns:
        Weights (S, R, C, D) and biases (S, R, C), without gradients, in the dtype and on the device of the features.

    Raises:
        DataError: bad features or labels, or training that overflows.
        ConfigurationError: a setting that cannot work.
    """
    rows = check_rows("features", features)
    labels = check_labels("labels", labels, len(rows)).to(rows.device)
    _check_settings(num_classes, int(labels.max()), learning_rates, steps, batch_size, momentum, seeds)
    with torch.no_grad():
        extended = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        dual = len(rows) < 2 * extended.shape[1]
        state = _descend(
            extended @ extended.T if dual else extended,
            labels,
            num_classes,
            dual,
            learning_rates=learning_rates,
            momentum=momentum,
            steps=steps,
            batch_size=min(batch_size, len(rows)),
            seeds=seeds,
        )
        heads = state @ extended if dual else state
        if not bool(heads.isfinite().all()):
            raise DataError(
                f"features: SGD overflows (largest value {float(rows.abs().max()):.3g}, learning rates {list(learning_rates)}); "
                "scale the features down or lower the learning rate"
            )
        heads = heads.view(len(seeds), num_classes, len(learning_rates), -1).transpose(1, 2)
        return heads[..., :-1].contiguous(), heads[..., -1].contiguous()


def minibatches(count: int, batch_size: int, seed: int) -> Iterator[Int[Tensor, " B"]]:
    """Row numbers of one minibatch after the other, without end.

    Each epoch is a new permutation, cut into floor(count / batch_size) minibatches of exactly batch_size rows; the rows left over wait
    for the next epoch's permutation, as with torch's DataLoader and drop_last. The permutations come from a generator of their own.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def _descend(
    design: Float[Tensor, "N K"],
    labels: Int[Tensor, " N"],
    num_classes: int,
    dual: bool,
    *,
    learning_rates: Sequence[float],
    momentum: float,
    steps: int,
    batch_size: int,
    seeds: Sequence[int],
) -> Float[Tensor, "S CR K"]:
    """SGD in the coordinates A (`design` is G, K = N) or Θ (`design` is X̃, K = D + 1).

    Errors are laid out (S, C, R, B): a softmax over a last dimension of ten classes would cost as much as the product before it.
    """
    rates = design.new_tensor(learning_rates).repeat(num_classes)[:, None]
    runs, width = len(seeds), design.shape[1]
    state = design.new_zeros(runs, len(rates), width)
    velocity = torch.zeros_like(state)
    gathered = design.new_empty(runs * batch_size, width)
    minus_one = design.new_full((runs, 1, len(learning_rates), batch_size), -1.0)
    streams = [minibatches(len(design), batch_size, seed) for seed in seeds]
    for batch in islice(zip(*streams, strict=True), steps):
        index = torch.stack(batch).to(design.device)
        rows = torch.index_select(design, 0, index.flatten(), out=gathered).view(runs, batch_size, width)
        errors = torch.bmm(state, rows.mT).view(runs, num_classes, -1).softmax(1).view(runs, num_classes, -1, batch_size)
        errors.scatter_add_(1, labels[index][:, None, None].expand_as(minus_one), minus_one)
        errors = errors.view(runs, len(rates), batch_size)
        if dual:
            velocity.mul_(momentum).scatter_add_(2, index[:, None].expand_as(errors), errors)
        else:
            velocity.baddbmm_(errors, rows, beta=momentum)
        # The sum over the minibatch becomes its mean here, where it costs nothing.
        state.addcmul_(velocity, rates, value=-1.0 / batch_size)
    return state


def _check_settings(
    num_classes: int,
    largest: int,
    learning_rates: Sequence[float],
    steps: int,
    batch_size: int,
    momentum: float,
    seeds: Sequence[int],
) -> None:
    wrong = []
    if num_classes <= largest:
        wrong.append(f"num_classes: {num_classes} given, but a label is {largest}; at least {largest + 1} expected")
    if not learning_rates or not all(0.0 < rate < math.inf for rate in learning_rates):
        wrong.append(f"learning_rates: {list(learning_rates)} given, positive numbers expected")
    if steps < 1:
        wrong.append(f"steps: {steps} given, at least 1 expected")
    if batch_size < 1:
        wrong.append(f"batch_size: {batch_size} given, at least 1 expected")
    if not 0.0 <= momentum < 1.0:
        wrong.append(f"momentum: {momentum} given, 0 <= momentum < 1 expected")
    if not seeds:
        wrong.append("seeds: none given, at least 1 expected")
    if wrong:
        raise ConfigurationError("; ".join(wrong))
