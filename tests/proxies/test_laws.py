"""What must not change a score, over all estimators of features at once."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from hubtune.proxies import (
    PROXIES,
    Features,
    gbc,
    h_score,
    h_score_regularized,
    loo_ridge_accuracy,
    msc,
    nleep,
    pactran,
    parc,
    transrate,
)
from hubtune.proxies.logme import logme

OF_FEATURES = [logme, h_score, h_score_regularized, transrate, gbc, parc, pactran, msc, loo_ridge_accuracy, nleep]
# Standardising single features singles their axes out; k-means++ draws rows by number.
ROTATION, PERMUTATION = set(OF_FEATURES) - {parc}, set(OF_FEATURES) - {nleep}


def by_name(functions):
    return pytest.mark.parametrize("proxy", sorted(functions, key=lambda f: f.__name__), ids=lambda f: f.__name__)


@by_name(ROTATION)
def test_a_rotation_of_the_features_changes_nothing(proxy, sample):
    rows, labels = sample
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(rows.shape[1], rows.shape[1], generator=generator, dtype=torch.float64)).Q
    assert proxy(rows @ rotation, labels) == pytest.approx(proxy(rows, labels), rel=1e-8, abs=1e-8)


@by_name(PERMUTATION)
def test_the_order_of_the_images_changes_nothing(proxy, sample):
    rows, labels = sample
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    assert proxy(rows[order], labels[order]) == pytest.approx(proxy(rows, labels), rel=1e-8, abs=1e-8)


@by_name(OF_FEATURES)
def test_the_numbering_of_the_classes_changes_nothing(proxy, sample):
    rows, labels = sample
    renumbered = torch.tensor([30, 4, 0, 17])[labels]
    assert proxy(rows, renumbered) == pytest.approx(proxy(rows, labels), rel=1e-8, abs=1e-8)


@by_name(set(OF_FEATURES) - {logme})
def test_a_shift_of_the_features_changes_nothing(proxy, sample):
    rows, labels = sample
    assert proxy(rows + 7.0, labels) == pytest.approx(proxy(rows, labels), rel=1e-7, abs=1e-7)


@by_name(OF_FEATURES)
def test_prepared_features_are_the_same_and_are_not_changed(proxy, sample):
    rows, labels = sample
    prepared, before = Features(rows.float()), rows.float().clone()
    expected = proxy(rows.float(), labels)
    assert proxy(prepared, labels) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    for other in OF_FEATURES:
        other(prepared, labels)
    assert proxy(prepared, labels) == pytest.approx(expected, rel=1e-5, abs=1e-4)
    assert torch.equal(prepared.rows, before)


@by_name(OF_FEATURES)
def test_features_that_know_the_classes_beat_features_that_do_not(proxy, draw_sample):
    noise, labels = draw_sample(84, 10, 10, seed=11)
    noise = torch.randn(noise.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    signal = noise.clone()
    signal[torch.arange(84), labels] += 4.0
    assert proxy(signal, labels) > proxy(noise, labels)


def test_two_decompositions_serve_all_estimators(draw_sample, monkeypatch):
    calls, decompose = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: calls.append(len(matrix)) or decompose(matrix))
    for shape, side in (((60, 7, 7), 7), ((25, 40, 40), 25), ((50, 20, 6), 20)):
        for dtype in (torch.float32, torch.float64):
            rows, labels = draw_sample(*shape, seed=1)
            prepared = Features(rows.to(dtype))
            calls.clear()
            for proxy in OF_FEATURES:
                proxy(prepared, labels)
            # Of (50, 20, 6) float32 does not resolve all 20 directions: float64 tells which of them are there.
            resolved = dtype == torch.float64 or shape[2] != 6
            assert calls == [side] * 2 if resolved else calls in ([side] * 3, [side] * 4)


@by_name(OF_FEATURES)
def test_weak_directions_of_single_precision_count(proxy, draw_sample):
    """A layer whose outputs share one large direction, as behind a LayerNorm: what differs between images is weak beside it."""
    rows, labels = draw_sample(80, 12, 12, seed=5)
    rows = (1e-3 * rows + 1.0).float()
    rows[:, :3] *= 1e-1
    assert proxy(rows, labels) == pytest.approx(proxy(rows.double(), labels), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", PROXIES)
def test_annotated_shapes_hold(name):
    generator = torch.Generator().manual_seed(0)
    rows, val = torch.randn(20, 5, generator=generator), torch.randn(9, 5, generator=generator)
    labels, wanted = torch.arange(20) % 3, torch.arange(9) % 3
    arguments = {
        frozenset({"features"}): (rows, labels),
        frozenset({"features", "validation"}): (rows, labels, val, wanted),
        frozenset({"source_probs"}): (rows.softmax(1), labels),
        frozenset({"source_labels"}): (labels, labels),
    }[PROXIES[name].needs]
    checked = jaxtyped(typechecker=beartype)(PROXIES[name].function)
    assert isinstance(checked(*arguments, **({"steps": 3} if name == "linear" else {})), float)
