"""Linear evaluation: the validation accuracy of softmax regression on frozen features, by the paper's protocol."""

import statistics
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.proxies.prepared import Features, as_classes, as_features, check_validation
from hubtune.proxies.sgd import linear_fit


def linear_accuracy(
    train_features: Float[Tensor, "N D"] | Features,
    train_labels: Int[Tensor, " N"],
    val_features: Float[Tensor, "V D"],
    val_labels: Int[Tensor, " V"],
    *,
    learning_rates: Sequence[float] = (0.1, 0.01),
    steps: int = 2500,
    batch_size: int = 512,
    momentum: float = 0.9,
    runs: int = 5,
    seed: int = 0,
) -> float:
    """The validation accuracy of a linear classifier trained by SGD: median over runs, at the better learning rate.

        max over learning rates of the median over runs of mean_v [argmax_c (W x_v + b)_c = y_v]

    with W (C, D), b (C,) from linear_fit. C is the largest label of both splits plus one.

    Source: Renggli et al., "Which Model to Transfer? Finding the Needle in the Growing Haystack", section 4.3, "Linear evaluation".
    Differs from the paper: none in what is computed; it leaves momentum, initialisation and sampling open (see linear_fit). The rate is
    chosen by the median, once for all runs.
    Needs: features and labels, and validation images.
    Cost: 4 s of CPU for 10 classes and 27 s for 100 at N = 800, whatever D above N / 2; see benchmarks/linear_proxy_speed.py.
    Number: an accuracy, 0 to 1, on the validation images.

    Args:
        train_features: (N, D), a tensor or a prepared value; float64 trains in float64, all others in float32.
        train_labels: (N,) whole numbers.
        val_features: (V, D).
        val_labels: (V,) whole numbers.
        learning_rates: tried by every run.
        steps: SGD steps of each run.
        batch_size: images in a minibatch, if there are so many.
        momentum: 0 <= momentum < 1.
        runs: seeds to take the median over.
        seed: of the runs' minibatches.

    Returns:
        The validation accuracy.

    Raises:
        DataError: bad features or labels, one class only, features of different widths, or training that overflows.
        ConfigurationError: a setting that cannot work.
    """
    prepared = as_features(train_features)
    as_classes(train_labels, len(prepared))
    train, val, own, wanted = check_validation(prepared, train_labels, val_features, val_labels)
    num_classes = int(torch.maximum(own.max(), wanted.max())) + 1
    if runs < 1:
        raise ConfigurationError(f"runs: {runs} given, at least 1 expected")
    # Runs of neighbouring seeds share no minibatches.
    seeds = [seed * 1_000_003 + run for run in range(runs)]
    weights, biases = linear_fit(
        train, own, num_classes, learning_rates=learning_rates, steps=steps, batch_size=batch_size, momentum=momentum, seeds=seeds
    )
    answers = torch.einsum("srcd,vd->srvc", weights, val.to(weights.dtype)) + biases[:, :, None]
    accuracies = (answers.argmax(3) == wanted).double().mean(2)
    return max(statistics.median(column) for column in accuracies.T.tolist())


def linear_probe(
    train_features: Float[Tensor, "N D"],
    train_labels: Int[Tensor, " N"],
    num_classes: int,
    *,
    learning_rate: float = 0.1,
    steps: int = 2500,
    batch_size: int = 512,
    momentum: float = 0.9,
    seed: int = 0,
) -> tuple[Float[Tensor, "C D"], Float[Tensor, " C"]]:
    """The head that SGD finds on frozen features: linear_fit of one seed and one learning rate.

    Args:
        train_features: (N, D); float64 trains in float64, all others in float32.
        train_labels: (N,) whole numbers below num_classes.
        num_classes: C.
        learning_rate: of SGD.
        steps: of SGD.
        batch_size: images in a minibatch, if there are so many.
        momentum: 0 <= momentum < 1.
        seed: of the minibatches.

    Returns:
        weight (C, D) and bias (C,), as torch.nn.Linear holds them.

    Raises:
        DataError: bad features or labels, or training that overflows.
        ConfigurationError: a setting that cannot work.
    """
    weights, biases = linear_fit(
        train_features,
        train_labels,
        num_classes,
        learning_rates=[learning_rate],
        steps=steps,
        batch_size=batch_size,
        momentum=momentum,
        seeds=[seed],
    )
    return weights[0, 0], biases[0, 0]
