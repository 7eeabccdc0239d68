"""The same checks over every entry of PROXIES."""

import inspect
import math

import pytest
import torch

import hubtune
from hubtune.errors import DataError, HubTuneError, ModelError, UnknownNameError
from hubtune.proxies import PROXIES, Proxy, ProxyInputs, evaluate, find_proxy

EVERY = pytest.mark.parametrize("name", PROXIES)
NAMES = [
    "linear",
    "knn",
    "knn3",
    "logme",
    "leep",
    "nce",
    "h-score",
    "h-score-regularized",
    "nleep",
    "transrate",
    "gbc",
    "parc",
    "pactran",
    "msc",
    "loo-ridge",
]


def inputs(train, labels, val=None, wanted=None, seed=0) -> ProxyInputs:
    probs = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(seed)).softmax(1)
    val, wanted = (train, labels) if val is None else (val, wanted)
    return ProxyInputs(train_features=train, train_labels=labels, val_features=val, val_labels=wanted, source_probs=probs)


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    """Nothing here depends on how long linear evaluation trains."""
    monkeypatch.setitem(inspect.unwrap(hubtune.proxies.linear_accuracy).__kwdefaults__, "steps", 60)


@pytest.fixture
def usual():
    generator = torch.Generator().manual_seed(0)
    labels, wanted = torch.arange(40) % 4, torch.arange(20) % 4
    means = 2 * torch.randn(4, 12, generator=generator)
    train, val = means[labels] + torch.randn(40, 12, generator=generator), means[wanted] + torch.randn(20, 12, generator=generator)
    return inputs(train, labels, val, wanted)


def good(name: str, score: float) -> bool:
    low, high = PROXIES[name].range
    return isinstance(score, float) and math.isfinite(score) and low - 1e-6 <= score <= high + 1e-6


def test_the_table_is_what_is_promised():
    assert list(PROXIES) == NAMES
    assert all(entry.name == name and entry.meaning and "\n" not in entry.meaning for name, entry in PROXIES.items())
    assert all(entry.needs <= {"features", "validation", "source_probs", "source_labels"} for entry in PROXIES.values())
    assert all(entry.range[0] < entry.range[1] for entry in PROXIES.values())
    with pytest.raises(TypeError):
        PROXIES["mine"] = PROXIES["knn"]  # pyright: ignore


def test_public_functions_are_reached_from_the_package():
    for name in ("linear_accuracy", "linear_probe", "linear_fit", "knn_accuracy", "logme", "leep", "nce", "h_score", "h_score_regularized"):
        assert callable(getattr(hubtune.proxies, name))
    for name in ("parc", "gbc", "transrate", "nleep", "pactran", "msc", "loo_ridge_accuracy"):
        assert callable(getattr(hubtune.proxies, name))


@EVERY
def test_scores_are_floats_in_range_and_repeat_under_a_seed(name, usual):
    score = evaluate(name, usual, seed=3)
    assert good(name, score)
    assert evaluate(name, usual, seed=3) == score


@EVERY
def test_every_function_documents_itself(name):
    text = PROXIES[name].function.__doc__
    assert all(
        part in text for part in ("Source:", "Differs from the paper:", "Needs:", "Cost:", "Number:", "Args:", "Returns:", "Raises:")
    )


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_type_works(name, usual, dtype):
    train, val = usual.train_features.rows.to(dtype), usual.val_features.to(dtype)
    changed = inputs(train, usual.train_labels, val, usual.val_labels)
    assert evaluate(name, changed) == pytest.approx(evaluate(name, usual), rel=0.1, abs=0.1)


CORNERS = {
    "two images": (torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([0, 1])),
    "one feature": (torch.tensor([[1.0], [2.0], [2.0], [5.0]]), torch.tensor([0, 1, 0, 1])),
    "an image for each class": (torch.eye(5), torch.arange(5)),
    "gaps between the classes": (torch.eye(6), torch.tensor([3, 90, 3, 90, 41, 41])),
    "equal images in different classes": (torch.eye(2).repeat(4, 1), torch.tensor([0, 1, 1, 0, 0, 0, 1, 1])),
    "constant columns": (torch.cat([torch.eye(6), torch.ones(6, 4)], 1), torch.tensor([0, 1, 2, 0, 1, 2])),
    "tiny": (torch.eye(6) * 1e-25, torch.tensor([0, 1, 2, 0, 1, 2])),
    "large": (torch.eye(6) * 1e12, torch.tensor([0, 1, 2, 0, 1, 2])),
    "far from zero": (torch.eye(6) + 1e4, torch.tensor([0, 1, 2, 0, 1, 2])),
    "separable": (torch.eye(3).repeat(4, 1), torch.arange(12) % 3),
}


@EVERY
@pytest.mark.parametrize("corner", CORNERS)
def test_corners_never_give_nan(name, corner):
    train, labels = CORNERS[corner]
    assert good(name, evaluate(name, inputs(train, labels)))


@EVERY
def test_a_class_absent_from_validation(name, usual):
    kept = usual.val_labels != 1
    assert good(name, evaluate(name, inputs(usual.train_features, usual.train_labels, usual.val_features[kept], usual.val_labels[kept])))


@EVERY
def test_one_class_is_refused(name, usual):
    with pytest.raises(DataError, match="at least 2 classes"):
        evaluate(name, inputs(usual.train_features, torch.zeros(40, dtype=torch.int64), usual.val_features, usual.val_labels))


@pytest.mark.wrong_shapes
@EVERY
def test_labels_of_another_length_are_refused(name, usual):
    broken = ProxyInputs(
        train_features=usual.train_features,
        train_labels=usual.train_labels[:-1],
        val_features=usual.val_features,
        val_labels=usual.val_labels,
        source_probs=usual.source_probs,
    )
    with pytest.raises(DataError, match="39 given for 40 images"):
        evaluate(name, broken)


def test_features_that_are_not_finite_are_refused_with_counts():
    train = torch.eye(4)
    train[1, 2] = float("nan")
    with pytest.raises(HubTuneError, match="1 of 4 images"):
        inputs(train, torch.arange(4))


@EVERY
def test_validation_features_that_are_not_finite_are_refused(name, usual):
    val = usual.val_features.clone()
    val[3] = float("inf")
    broken = inputs(usual.train_features, usual.train_labels, val, usual.val_labels)
    if "validation" in PROXIES[name].needs:
        with pytest.raises(DataError, match=r"val_features: 1 of 20 images .* 12 infinite"):
            evaluate(name, broken)
    else:
        assert good(name, evaluate(name, broken))


@EVERY
def test_what_is_missing_is_named(name, usual):
    bare = ProxyInputs(train_features=usual.train_features, train_labels=usual.train_labels)
    needs = PROXIES[name].needs
    if needs & {"source_probs", "source_labels"}:
        with pytest.raises(ModelError, match=f"'{name}' needs an upstream head"):
            evaluate(name, bare)
    elif "validation" in needs:
        with pytest.raises(DataError, match=f"'{name}' needs validation images"):
            evaluate(name, bare)
    else:
        assert evaluate(name, bare) == pytest.approx(evaluate(name, usual))


def test_unknown_names_suggest_known_ones(usual):
    with pytest.raises(UnknownNameError, match="did you mean 'logme'"):
        evaluate("log-me", usual)


MINE = Proxy(
    name="mine",
    function=lambda features, labels: float(features.dim),
    needs=frozenset({"features"}),
    meaning="the number of features",
    range=(1.0, math.inf),
)


def test_a_proxy_of_ones_own_works_by_its_place(usual, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "my_proxies", sys.modules[__name__])
    assert find_proxy("my_proxies:MINE") is MINE
    assert evaluate("my_proxies:MINE", usual) == 12.0
    with pytest.raises(UnknownNameError, match="is a dict, not a"):
        find_proxy("my_proxies:CORNERS")
    with pytest.raises(UnknownNameError, match="cannot be imported"):
        find_proxy("my_proxies:nothing")
    with pytest.raises(UnknownNameError, match="cannot be imported"):
        find_proxy("no_such_module:thing")
    with pytest.raises(UnknownNameError, match="cannot be imported"):
        find_proxy(":thing")
