import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubtune.landmarks.heatmaps import decode, encode, within

inside = st.floats(0.02, 0.98)


@given(x=inside, y=inside, size=st.sampled_from([8, 16, 33]), sigma=st.sampled_from([1.0, 1.5]))
def test_a_round_trip_misses_by_less_than_half_a_pixel(x, y, size, sigma):
    point = torch.tensor([[[x, y]]], dtype=torch.float64)
    miss = (decode(encode(point, size, sigma)) - point).abs() * size
    assert float(miss.max()) <= 0.5 + 1e-9


def test_away_from_the_border_a_round_trip_misses_by_a_quarter_of_a_pixel_at_most():
    points = 0.1 + 0.8 * torch.rand(200, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float((decode(encode(points, 32, 1.5)) - points).abs().max()) * 32 <= 0.25 + 1e-9


def test_a_bell_has_height_one_where_its_point_is_a_pixels_middle_and_is_as_wide_as_sigma():
    bell = encode(torch.tensor([[[4.5 / 9, 2.5 / 9]]]), 9, 1.5)[0, 0]
    assert float(bell[2, 4]) == 1.0
    assert float(bell[2, 7]) == pytest.approx(math.exp(-9 / (2 * 1.5**2)))
    torch.testing.assert_close(bell[1], bell[3])


def test_unknown_points_have_empty_maps_and_far_ones_leave_nothing():
    points = torch.tensor([[[math.nan, math.nan], [1.6, 0.5], [0.5, 0.5]]])
    maps = encode(points, 16, 1.0)
    assert float(maps[0, 0].abs().max()) == 0
    assert float(maps[0, 1].max()) < 1e-4
    assert within(points, 16, 1.0).tolist() == [[False, False, True]]


def brute_force(heatmap: np.ndarray) -> tuple[float, float]:
    """The codec in plain loops, as the authors' code has it."""
    best, row, column = -math.inf, 0, 0
    for i in range(len(heatmap)):
        for j in range(len(heatmap)):
            if heatmap[i, j] > best:
                best, row, column = heatmap[i, j], i, j
    x, y = float(column), float(row)
    if 0 < column < len(heatmap) - 1:
        x += 0.25 * np.sign(heatmap[row, column + 1] - heatmap[row, column - 1])
    if 0 < row < len(heatmap) - 1:
        y += 0.25 * np.sign(heatmap[row + 1, column] - heatmap[row - 1, column])
    return (x + 0.5) / len(heatmap), (y + 0.5) / len(heatmap)


def test_decoding_agrees_with_plain_loops():
    # Few levels, so that equal pixels and equal neighbours occur.
    maps = torch.randint(0, 6, (20, 4, 7, 7), generator=torch.Generator().manual_seed(1)).double()
    expected = [[brute_force(heatmap.numpy()) for heatmap in sample] for sample in maps]
    torch.testing.assert_close(decode(maps), torch.tensor(expected, dtype=torch.float64))


def test_maps_that_are_no_numbers_give_points_that_are_none():
    assert decode(torch.full((1, 1, 4, 4), math.nan)).isnan().all()
