"""The proxies by name, and one call that gives each what it needs."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import DataError, ModelError, UnknownNameError, unknown_name
from hubtune.proxies.gbc import gbc
from hubtune.proxies.h_score import h_score
from hubtune.proxies.h_score_regularized import h_score_regularized
from hubtune.proxies.knn import knn3_accuracy, knn_accuracy
from hubtune.proxies.leep import leep
from hubtune.proxies.linear import linear_accuracy
from hubtune.proxies.logme import logme
from hubtune.proxies.loo_ridge import loo_ridge_accuracy
from hubtune.proxies.msc import msc
from hubtune.proxies.nce import nce
from hubtune.proxies.nleep import nleep
from hubtune.proxies.pactran import pactran
from hubtune.proxies.parc import parc
from hubtune.proxies.prepared import Features, as_features
from hubtune.proxies.transrate import transrate

_FEATURES = frozenset({"features"})
_VALIDATION = frozenset({"features", "validation"})


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A transferability estimator and what there is to know about calling it."""

    name: str
    """As in PROXIES."""
    function: Callable[..., float]
    """Takes what `needs` says, in this order: training features or source_probs or source_labels, training labels, validation features,
    validation labels."""
    needs: frozenset[str]
    """Some of "features", "validation", "source_probs", "source_labels"."""
    meaning: str
    """What the number says, in one line; higher is better."""
    range: tuple[float, float]
    """The least and the largest value it can have."""
    seeded: bool = False
    """Whether the function takes `seed=`: its result depends on random numbers."""
    numbers: bool = False
    """Whether it takes numbers (N, K) in the place of classes: tasks that are no classification need that."""


PROXIES: MappingProxyType[str, Proxy] = MappingProxyType(
    {
        "linear": Proxy(
            name="linear",
            function=linear_accuracy,
            needs=_VALIDATION,
            meaning="validation accuracy of a linear classifier on the features",
            range=(0.0, 1.0),
            seeded=True,
        ),
        "knn": Proxy(
            name="knn",
            function=knn_accuracy,
            needs=_VALIDATION,
            meaning="validation accuracy of the nearest training image",
            range=(0.0, 1.0),
        ),
        "knn3": Proxy(
            name="knn3",
            function=knn3_accuracy,
            needs=_VALIDATION,
            meaning="validation accuracy of the vote of the three nearest training images",
            range=(0.0, 1.0),
        ),
        "logme": Proxy(
            name="logme",
            function=logme,
            needs=_FEATURES,
            meaning="log evidence of a Bayesian linear model for an image and class (nats of a density)",
            range=(-math.inf, math.inf),
            numbers=True,
        ),
        "leep": Proxy(
            name="leep",
            function=leep,
            needs=frozenset({"source_probs"}),
            meaning="log-likelihood of the labels given the model's own source classes (nats for an image)",
            range=(-math.inf, 0.0),
        ),
        "nce": Proxy(
            name="nce",
            function=nce,
            needs=frozenset({"source_labels"}),
            meaning="minus the entropy of the labels given the model's likeliest source class (nats for an image)",
            range=(-math.inf, 0.0),
        ),
        "h-score": Proxy(
            name="h-score",
            function=h_score,
            needs=_FEATURES,
            meaning="variance between classes over variance, summed over directions; always C - 1 once the features have rank N - 1",
            range=(0.0, math.inf),
        ),
        "h-score-regularized": Proxy(
            name="h-score-regularized",
            function=h_score_regularized,
            needs=_FEATURES,
            meaning="variance between classes over shrunk variance, summed over directions; 0 to C - 1",
            range=(0.0, math.inf),
        ),
        "nleep": Proxy(
            name="nleep",
            function=nleep,
            needs=_FEATURES,
            meaning="log-likelihood of the labels given clusters of the features (nats for an image)",
            range=(-math.inf, 0.0),
            seeded=True,
        ),
        "transrate": Proxy(
            name="transrate",
            function=transrate,
            needs=_FEATURES,
            meaning="coding rate of the features that the labels save (nats)",
            range=(0.0, math.inf),
        ),
        "gbc": Proxy(
            name="gbc",
            function=gbc,
            needs=_FEATURES,
            meaning="minus the overlap of the classes as Gaussians, summed over ordered pairs",
            range=(-math.inf, 0.0),
        ),
        "parc": Proxy(
            name="parc",
            function=parc,
            needs=_FEATURES,
            meaning="rank correlation of feature and label distances over pairs of images",
            range=(-1.0, 1.0),
        ),
        "pactran": Proxy(
            name="pactran",
            function=pactran,
            needs=_FEATURES,
            meaning="minus a PAC-Bayesian bound on the loss of a linear classifier (nats for an image)",
            range=(-math.inf, 0.0),
        ),
        "msc": Proxy(
            name="msc",
            function=msc,
            needs=_FEATURES,
            meaning="mean silhouette: how much nearer an image is to its own class than to the next",
            range=(-1.0, 1.0),
        ),
        "loo-ridge": Proxy(
            name="loo-ridge",
            function=loo_ridge_accuracy,
            needs=_FEATURES,
            meaning="leave-one-out accuracy of a ridge classifier, at its best penalty",
            range=(0.0, 1.0),
        ),
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProxyInputs:
    """One model's view of a task: everything the proxies may ask for. Its features are prepared once for all of them."""

    train_features: Float[Tensor, "N D"] | Features
    """Of the training images."""
    train_labels: Int[Tensor, " N"] | Float[Tensor, "N K"]
    """Classes, whole numbers from 0; or numbers, for the proxies that take them."""
    val_features: Float[Tensor, "V D"] | None = None
    """Of the validation images; None if there are none."""
    val_labels: Int[Tensor, " V"] | Float[Tensor, "V K"] | None = None
    """As the training labels."""
    source_probs: Float[Tensor, "N Z"] | None = None
    """Of the training images by the model's upstream head, rows that sum to one; None for a model without one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "train_features", as_features(self.train_features))


def find_proxy(name: str) -> Proxy:
    """The proxy of a name.

    Args:
        name: a key of PROXIES, or "package.module:attribute" where the attribute is a Proxy.

    Raises:
        UnknownNameError: there is no such proxy; the message suggests the nearest names.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise UnknownNameError(f"proxy {name!r} cannot be imported: {error}; expected 'package.module:attribute'") from error
        if not isinstance(found, Proxy):
            raise UnknownNameError(f"proxy {name!r} is a {type(found).__name__}, not a hubtune.proxies.Proxy; wrap the function in one")
        return found
    if name not in PROXIES:
        raise unknown_name("proxy", name, PROXIES)
    return PROXIES[name]


def evaluate(name: str, inputs: ProxyInputs, seed: int = 0) -> float:
    """The score of one model by one proxy.

    Args:
        name: as find_proxy takes it.
        inputs: the model's features, labels and source probabilities.
        seed: for proxies that draw random numbers.

    Returns:
        The score; higher is better, never NaN.

    Raises:
        UnknownNameError: no such proxy.
        ModelError: the proxy needs an upstream head and the model has none.
        DataError: it needs validation images and there are none, or the inputs cannot be used.
    """
    score = float(_evaluate(name, inputs, seed))
    if math.isnan(score):
        raise ModelError(f"proxy {name!r} gave NaN; expected a number, or infinity: see to its function, or choose another proxy")
    return score


def _evaluate(name: str, inputs: ProxyInputs, seed: int) -> float:
    proxy = find_proxy(name)
    options = {"seed": seed} if proxy.seeded else {}
    if proxy.needs & {"source_probs", "source_labels"}:
        if inputs.source_probs is None:
            raise ModelError(
                f"proxy {name!r} needs an upstream head, and this model has none; use one on features, such as 'logme' or 'nleep'"
            )
        source = inputs.source_probs if "source_probs" in proxy.needs else inputs.source_probs.argmax(1)
        return proxy.function(source, inputs.train_labels, **options)
    if "validation" not in proxy.needs:
        return proxy.function(inputs.train_features, inputs.train_labels, **options)
    if inputs.val_features is None or inputs.val_labels is None:
        raise DataError(f"proxy {name!r} needs validation images with labels, and none are given; use one without, such as 'loo-ridge'")
    return proxy.function(inputs.train_features, inputs.train_labels, inputs.val_features, inputs.val_labels, **options)
