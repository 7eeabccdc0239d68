import math

import pytest
import torch

from hubtune.errors import DataError
from hubtune.landmarks.scores import area_under_curve, failure_rate, normalized_mean_error, summarize


def points(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalizer", [(0, 3), None])
def test_the_error_does_not_change_when_both_are_scaled_and_shifted(normalizer):
    true, predicted = points(0, 9, 5), points(1, 9, 5)
    expected = normalized_mean_error(predicted, true, normalizer)
    moved = [37.0 * both + torch.tensor([-4.0, 11.0]) for both in (predicted, true)]
    torch.testing.assert_close(normalized_mean_error(*moved, normalizer), expected)
    assert normalized_mean_error(true, true, normalizer).tolist() == [0.0] * 9


def test_the_error_of_an_example_by_hand():
    """Two points are off by 3 and 4 pixels, one is right, the eyes are 10 apart: (3 + 4 + 0) / 3 / 10."""
    true = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]]])
    predicted = true + torch.tensor([[[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]])
    torch.testing.assert_close(normalized_mean_error(predicted, true, (0, 1)), torch.tensor([7 / 30]))


def test_unknown_points_do_not_count():
    true = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [math.nan, math.nan]]])
    predicted = torch.tensor([[[1.0, 0.0], [10.0, 0.0], [7.0, 7.0]]])
    torch.testing.assert_close(normalized_mean_error(predicted, true, (0, 1)), torch.tensor([0.05]))


def test_failures_and_the_area_under_the_curve_by_integration():
    errors = torch.rand(400, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.2
    assert failure_rate(torch.tensor([0.05, 0.08, 0.081, 0.3]), 0.08) == 0.5
    thresholds = torch.linspace(0, 0.1, 20_001, dtype=torch.float64)
    share = (errors[None] <= thresholds[:, None]).double().mean(1)
    assert area_under_curve(errors) == pytest.approx(float(torch.trapezoid(share, thresholds)) / 0.1, abs=1e-4)


def test_the_summary():
    found = summarize(torch.tensor([0.0, 0.09, 0.15]))
    assert found["nme"] == pytest.approx(0.08)
    assert found["closeness"] == pytest.approx(0.92)
    assert (found["failure_8"], found["failure_10"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    with pytest.raises(DataError, match="no images"):
        summarize(torch.zeros(0))
