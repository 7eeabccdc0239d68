import pytest
import torch

from hubtune.errors import DataError
from hubtune.proxies import Features, msc, parc
from hubtune.proxies.prepared import as_classes, as_features


@pytest.mark.parametrize("centered", [True, False])
def test_spectrum_rebuilds_the_inner_products(sample, centered):
    rows, _ = sample
    features = Features(rows)
    spectrum = features.spectrum(centered=centered)
    expected = rows - rows.mean(0) if centered else rows
    rebuilt = spectrum.basis * spectrum.values @ spectrum.basis.T * features.scale**2
    torch.testing.assert_close(rebuilt, expected @ expected.T, rtol=0, atol=1e-11 * float((expected @ expected.T).abs().max()))
    torch.testing.assert_close(spectrum.basis.T @ spectrum.basis, torch.eye(len(spectrum.values), dtype=torch.float64), rtol=0, atol=1e-10)


def test_spectrum_has_the_rank_of_the_features(sample):
    rows, _ = sample
    assert len(Features(rows).spectrum().values) == int(torch.linalg.matrix_rank(rows - rows.mean(0)))
    assert len(Features(rows).spectrum(centered=False).values) == int(torch.linalg.matrix_rank(rows))


def test_a_mean_far_from_zero_costs_no_digits(draw_sample):
    rows, _ = draw_sample(25, 40, 40, seed=0)
    near, far = Features(rows).gram(), Features(rows + 1e6).gram()
    torch.testing.assert_close(far, near, rtol=1e-8, atol=1e-9)


def test_float32_features_are_decomposed_in_float32_where_that_resolves_them_and_agree(sample):
    rows, _ = sample
    single, double = Features(rows.float()), Features(rows)
    wanted = double.spectrum().values
    resolved = len(wanted) == min(len(rows) - 1, rows.shape[1])
    assert single.spectrum().basis.dtype == (torch.float32 if resolved else torch.float64)
    torch.testing.assert_close(single.spectrum().values.double(), wanted, rtol=0, atol=1e-5 * float(wanted[-1]))


def test_squared_distances_are_exact_zeros_between_equal_rows(sample):
    rows, _ = sample
    rows = torch.cat([rows, rows[:3]])
    distances = Features(rows).squared_distances * Features(rows).scale ** 2
    torch.testing.assert_close(distances, torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square())
    assert bool((distances[torch.arange(3), torch.arange(len(rows) - 3, len(rows))] == 0).all())


def test_the_caller_keeps_features_and_threads_as_they_were(sample):
    rows, _ = sample
    before, threads = rows.clone(), torch.get_num_threads()
    Features(rows).spectrum()
    assert torch.equal(rows, before)
    assert torch.get_num_threads() == threads


def test_a_large_decomposition_keeps_all_threads(monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    from hubtune.proxies.prepared import _one_thread

    with _one_thread(2049):
        pass
    assert used == []


def test_prepared_values_pass_through():
    features = Features(torch.eye(3))
    assert as_features(features) is features


def test_half_precision_is_upcast_and_gradients_are_dropped():
    rows = torch.eye(3, dtype=torch.float16, requires_grad=True)
    assert Features(rows).rows.dtype == torch.float32
    assert not Features(rows).rows.requires_grad


def test_extreme_units_overflow_nowhere(draw_sample):
    rows, _ = draw_sample(12, 5, 5, seed=1)
    for unit in (1e-30, 1e30):
        assert bool(Features((rows * unit).float()).gram().isfinite().all())


def test_not_finite_features_are_counted():
    rows = torch.zeros(4, 3)
    rows[0, 0] = float("nan")
    rows[2, :2] = float("inf")
    with pytest.raises(DataError, match=r"features: 2 of 4 images have values that are not finite \(1 NaN, 2 infinite\)"):
        Features(rows)


@pytest.mark.wrong_shapes
@pytest.mark.parametrize("rows", [torch.zeros(3), torch.zeros(3, 2, 2), torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 0), [[1.0]]])
def test_features_of_another_shape_or_type_are_refused(rows):
    with pytest.raises(DataError, match="a floating torch tensor of shape"):
        Features(rows)


def test_one_image_and_equal_images_are_refused():
    with pytest.raises(DataError, match="1 image given, at least 2"):
        Features(torch.ones(1, 4))
    with pytest.raises(DataError, match="all 5 images have the same features"):
        Features(torch.arange(4.0).expand(5, 4))


def test_classes_are_renumbered():
    classes = as_classes(torch.tensor([7, 2, 7, 9]), 4)
    assert classes.index.tolist() == [1, 0, 1, 2]
    assert classes.counts.tolist() == [1, 2, 1]
    torch.testing.assert_close(classes.orthonormal().T @ classes.orthonormal(), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3), "whole numbers"),
        (torch.zeros(3, 1, dtype=torch.int64), "whole numbers"),
        ([0, 1, 1], "whole numbers"),
        (torch.tensor([0, 1]), "2 given for 3 images"),
        (torch.tensor([0, -1, 1]), "1 of 3 are negative"),
        (torch.tensor([4, 4, 4]), "all 3 images are of class 4"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        as_classes(labels, 3)


@pytest.mark.parametrize("proxy", [msc, parc])
def test_pairs_that_would_fill_the_memory_are_refused(proxy):
    rows = torch.zeros(10_001, 1)
    rows[0] = 1.0
    with pytest.raises(DataError, match="all pairs of 10001 images do not fit into memory"):
        proxy(rows, torch.arange(10_001) % 2)
