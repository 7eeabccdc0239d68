"""Label rules of VTAB's structured tasks, at and around their bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubtune.tasks.vtab_labels import CLEVR_DISTANCES, KITTI_DISTANCES, bin_of, clevr_count, clevr_distance, grouped, kitti_distance


@given(st.floats(-99, 2000), st.sampled_from([CLEVR_DISTANCES, KITTI_DISTANCES]))
def test_the_bin_is_the_largest_index_whose_threshold_lies_strictly_below(value, thresholds):
    below = [threshold < value for threshold in thresholds]
    if any(below):
        assert bin_of(value, thresholds) == sum(below) - 1
    else:
        with pytest.raises(ValueError, match="is not above 0"):
            bin_of(value, thresholds)


@pytest.mark.parametrize(
    ("distance", "label"),
    [(0.1, 0), (8.0, 0), (8.01, 1), (8.5, 1), (8.51, 2), (9.0, 2), (9.5, 3), (9.6, 4), (10.0, 4), (10.1, 5), (99.0, 5)],
)
def test_clevr_distance(distance, label):
    objects = {"pixel_coords": [[1.0, 2.0, 50.0], [3.0, 0.0, distance]], "size": [0, 1]}
    assert clevr_distance(objects) == label
    assert clevr_distance([{"pixel_coords": place} for place in objects["pixel_coords"]]) == label


@pytest.mark.parametrize("count", range(3, 11))
def test_clevr_count(count):
    assert clevr_count({"pixel_coords": [[0.0, 0.0, 9.0]] * count}) == count - 3
    assert clevr_count([{"pixel_coords": [0.0, 0.0, 9.0]}] * count) == count - 3


@pytest.mark.parametrize(
    ("objects", "label"),
    [
        ([(0, 1.0)], 0),
        ([(0, 8.0)], 0),
        ([(1, 10.0)], 1),
        ([(2, 20.0)], 1),
        ([(0, 30.0)], 2),
        ([(3, 5.0)], 3),  # a pedestrian is no vehicle
        ([(4, 5.0), (2, 30.0)], 2),
        ([(0, 30.0), (1, 1.0)], 0),
        ([], 3),
        ([(0, -3.0)], 0),
    ],
)
def test_kitti_distance(objects, label):
    columns = {"type": [kind for kind, _ in objects], "location": [[0.0, 0.0, z] for _, z in objects]}
    assert kitti_distance(columns) == label
    assert kitti_distance([{"type": kind, "location": [0.0, 0.0, z]} for kind, z in objects]) == label


def test_neighbouring_values_become_one_class():
    assert [grouped(2.0)(value) for value in range(32)] == [value // 2 for value in range(32)]
    orientations = [grouped(2.5)(value) for value in range(40)]
    assert orientations[:6] == [0, 0, 0, 1, 1, 2]
    assert sorted(set(orientations)) == list(range(16))
