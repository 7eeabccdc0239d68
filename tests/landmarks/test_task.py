import math

import pytest
import torch

from hubtune.errors import ConfigurationError, DataError
from hubtune.landmarks import Landmarks
from hubtune.landmarks.heatmaps import encode
from hubtune.tasks import kind_named


def bells(task: Landmarks, targets: torch.Tensor) -> torch.Tensor:
    return encode(targets, task.heatmap_size, task.sigma)


def test_the_right_heatmaps_cost_nothing_and_empty_ones_about_one(make_points):
    task = make_points(heatmap_size=32)
    targets = 0.3 + 0.4 * task.train.targets
    torch.testing.assert_close(task.loss(bells(task, targets), targets), torch.zeros(16))
    torch.testing.assert_close(task.loss(torch.zeros(16, 26, 32, 32), targets), torch.ones(16), atol=0.01, rtol=0)


def test_an_unknown_point_teaches_nothing_and_does_not_count(point_task):
    targets = point_task.train.targets.clone()
    targets[:, 3] = math.nan
    outputs = torch.randn(16, 26, 8, 8, requires_grad=True)
    point_task.loss(outputs, targets).sum().backward()
    assert not outputs.grad[:, 3].any()
    assert outputs.grad[:, 4].any()
    answers = targets.nan_to_num(0.5)
    assert point_task.metrics(answers, targets)["nme"] == 0


def test_outputs_are_combined_by_their_mean_in_any_order(point_task):
    first, second = torch.randn(2, 3, 26, 8, 8)
    torch.testing.assert_close(point_task.combine([first, second]), (first + second) / 2)
    torch.testing.assert_close(point_task.combine([second, first]), point_task.combine([first, second]))
    assert kind_named("landmarks").combine is Landmarks.combine


def test_imitation_is_the_squared_distance_in_units_of_a_bell(make_points):
    task = make_points(heatmap_size=32)
    teacher = bells(task, 0.3 + 0.4 * task.train.targets)
    assert not task.imitation(teacher, teacher, temperature=4.0).any()
    torch.testing.assert_close(task.imitation(0 * teacher, teacher, temperature=4.0), torch.ones(16), atol=0.01, rtol=0)


@pytest.mark.parametrize("augmentation", ["none", "flip", "turn", "turn+flip"])
def test_augmentation_follows_its_generator_alone(make_points, augmentation):
    task = make_points(augmentation=augmentation)
    canvas, targets = task.train.canvas(range(16), 32), task.train.targets

    def vary():
        return task.augment(canvas, targets, torch.Generator().manual_seed(3))

    (images, points), (again, more) = vary(), vary()
    assert torch.equal(images, again)
    assert torch.equal(points, more)
    assert images.shape == canvas.shape
    assert torch.equal(images, canvas) == (augmentation == "none")
    # Distances within a face change by the scale alone, whatever is turned or mirrored.
    a, b = (task.point_names.index(name) for name in ("chin", "nose"))
    ratio = (points[:, a] - points[:, b]).norm(dim=1) / (targets[:, a] - targets[:, b]).norm(dim=1)
    low, high = (1 / 1.25, 1 / 0.75) if "turn" in augmentation else (1, 1)
    assert bool(((ratio > low - 1e-4) & (ratio < high + 1e-4)).all())


def test_labels_are_centred_numbers(point_task):
    labels = point_task.labels(point_task.train)
    assert labels.shape == (16, 52)
    torch.testing.assert_close(labels.mean(0), torch.zeros(52), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotation": -1.0, "scaling": 1.0, "flip_probability": 2.0}, "flip_probability = 2.0"),
        ({"normalizer": (0, 99)}, "numbered 0 to 25"),
        ({"pairs": ((0, 1), (1, 2))}, "at most once"),
        ({"point_names": ("a",)}, "1 point_names for 26"),
    ],
)
def test_settings_that_cannot_work(make_points, changes, message):
    with pytest.raises(ConfigurationError) as raised:
        make_points(**changes)
    assert message in str(raised.value)


def test_points_that_no_error_can_be_measured_by(make_points):
    with pytest.raises(DataError, match="lie on each other"):
        make_points(normalizer=(4, 4))


def test_there_are_no_labels_to_smooth(point_task):
    with pytest.raises(ConfigurationError, match="label_smoothing"):
        point_task.loss(torch.zeros(16, 26, 8, 8), point_task.train.targets, label_smoothing=0.1)


def test_settings_are_part_of_the_fingerprint(make_points, point_task):
    assert make_points().fingerprint == point_task.fingerprint
    assert make_points(sigma=1.5).fingerprint != point_task.fingerprint
