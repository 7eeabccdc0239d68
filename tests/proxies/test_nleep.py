import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from hubtune.proxies import leep, nleep
from hubtune.proxies.nleep import spherical_mixture


@pytest.mark.parametrize("iterations", [1, 2, 6])
def test_the_mixture_is_scikit_learns_after_as_many_iterations(draw_sample, iterations):
    rows, _ = draw_sample(60, 4, 4, seed=8)
    rows = rows - rows.mean(0)
    variance = float(rows.square().mean())
    known = GaussianMixture(
        5,
        covariance_type="spherical",
        means_init=rows[:5].numpy(),
        weights_init=np.full(5, 0.2),
        precisions_init=np.full(5, 1 / variance),
        max_iter=iterations,
        tol=1e-3,
        reg_covar=1e-6 * variance,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        known.fit(rows.numpy())
    # scikit-learn ends with an M step, whose posteriors are those of one more E step here.
    ours = spherical_mixture(rows, rows[:5], iterations + 1)
    np.testing.assert_allclose(ours.numpy(), known.predict_proba(rows.numpy()), rtol=0, atol=1e-9)


def test_posteriors_sum_to_one_and_the_fit_ends_where_nothing_moves(draw_sample):
    rows, _ = draw_sample(60, 4, 4, seed=8)
    rows = rows - rows.mean(0)
    posterior = spherical_mixture(rows, rows[:6], 1000)
    torch.testing.assert_close(posterior.sum(1), torch.ones(60, dtype=torch.float64))
    assert torch.equal(posterior, spherical_mixture(rows, rows[:6], 2000))


def test_clusters_are_found_and_scored_as_source_classes():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    rows = torch.eye(3, dtype=torch.float64)[labels] * 50 + torch.randn(120, 3, generator=generator, dtype=torch.float64)
    assert nleep(rows, labels) == pytest.approx(0.0, abs=1e-9)


def test_only_the_leading_components_count(draw_sample):
    rows, labels = draw_sample(60, 7, 7, seed=1)
    kept = PCA(0.8, svd_solver="full").fit_transform(rows.numpy())
    tail = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-3
    wide = torch.cat([torch.tensor(kept), tail], 1)
    assert kept.shape[1] < 7
    reduced = PCA(0.8, svd_solver="full").fit_transform(wide.numpy())
    assert nleep(wide, labels) == pytest.approx(
        nleep(torch.tensor(reduced @ np.eye(reduced.shape[1], reduced.shape[1] + 3)), labels), abs=1e-6
    )


def test_the_seed_decides_the_start(draw_sample):
    rows, labels = draw_sample(60, 7, 7, seed=1)
    assert nleep(rows, labels, seed=4) == nleep(rows, labels, seed=4)
    assert len({nleep(rows, labels, seed=seed) for seed in range(5)}) > 1


def test_never_below_what_the_shares_alone_tell(draw_sample):
    rows, labels = draw_sample(60, 7, 7, seed=1)
    uniform = torch.full((60, 2), 0.5, dtype=torch.float64)
    assert leep(uniform, labels) < nleep(rows, labels) <= 0.0


def test_few_and_repeated_images_stay_finite():
    rows = torch.tensor([[0.0, 1.0], [0.0, 1.0], [2.0, 3.0], [2.0, 3.0]])
    assert -2.0 < nleep(rows, torch.tensor([0, 0, 1, 1])) <= 0.0
    assert -2.0 < nleep(rows[1:3], torch.tensor([0, 1])) <= 0.0
