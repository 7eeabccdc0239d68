import math

import numpy as np
import torch
from PIL import Image

from hubtune.landmarks.faces import PAIRS
from hubtune.landmarks.geometry import Box, Crop, flip, turn


def test_flipping_twice_is_the_identity(point_task):
    canvas, points = point_task.train.canvas(range(4), None), point_task.train.targets[:4]
    once = flip(canvas, points, PAIRS)
    twice = flip(*once, PAIRS)
    assert not torch.equal(once[0], canvas)
    assert torch.equal(twice[0], canvas)
    torch.testing.assert_close(twice[1], points)


def test_a_flipped_point_keeps_its_meaning(point_task):
    """The left eye of the mirrored face is where the mirror shows the right one."""
    names, points = point_task.point_names, point_task.train.targets[:1]
    _, mirrored = flip(point_task.train.canvas([0], None), points, PAIRS)
    left, right, chin = (names.index(name) for name in ("left_pupil", "right_pupil", "chin"))
    torch.testing.assert_close(mirrored[0, left], torch.tensor([1.0, 0.0]) + points[0, right] * torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(mirrored[0, chin, 0], 1 - points[0, chin, 0])


def test_points_go_where_their_pixels_go():
    """A bright spot, turned and enlarged: the point that marked it still does."""
    angles = torch.tensor([0.0, 0.5, -1.1, 0.3])
    scales = torch.tensor([1.0, 0.8, 1.2, 0.7])
    point = torch.tensor([[[0.6, 0.42]]]).repeat(4, 1, 1)
    canvas = torch.zeros(4, 3, 61, 61, dtype=torch.uint8)
    x, y = (point[0, 0] * 61).long().tolist()
    canvas[:, :, y - 1 : y + 2, x - 1 : x + 2] = 255
    turned, moved = turn(canvas, point, angles, scales)
    places = torch.arange(61) + 0.5
    weight = turned[:, 0].double()
    total = weight.sum((1, 2))
    seen = torch.stack([(weight * places).sum((1, 2)), (weight * places[:, None]).sum((1, 2))], 1) / total[:, None] / 61
    torch.testing.assert_close(moved[:, 0].double(), seen, atol=0.6 / 61, rtol=0)
    assert torch.equal(turned[0], canvas[0])


def test_a_quarter_turn_is_counter_clockwise_as_one_sees_it():
    _, moved = turn(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.tensor([[[1.0, 0.5]]]), torch.tensor([math.pi / 2]), torch.ones(1))
    torch.testing.assert_close(moved, torch.tensor([[[0.5, 0.0]]]), atol=1e-6, rtol=0)


def test_boxes_there_and_back():
    box = Box.around((30.0, 20.0), 0.2, 1.25)
    assert (box.left, box.top, box.side) == (5.0, -5.0, 50.0)
    points = torch.tensor([[5.0, -5.0], [30.0, 20.0], [55.0, 45.0]])
    torch.testing.assert_close(box.inwards(points), torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]))
    torch.testing.assert_close(box.outwards(box.inwards(points)), points)
    around = Box.of_points(torch.tensor([[10.2, 5.0], [29.6, 14.0], [math.nan, math.nan]]), 1.0)
    assert (around.left, around.top, around.side) == (10.0, -0.5, 20.0)
    assert Box.of_image(60, 40) == Box(0.0, -10.0, 60)


def test_a_crop_is_the_pixels_of_its_box_and_black_beyond_the_image():
    pixels = np.random.default_rng(0).integers(1, 256, (10, 12, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Crop(Image.fromarray(pixels), Box(2, 3, 6)).load()), pixels[3:9, 2:8])
    beyond = np.asarray(Crop(pixels, Box(-4, -4, 8)).load())
    assert beyond.shape == (8, 8, 3)
    assert not beyond[:4].any()
    assert np.array_equal(beyond[4:, 4:], pixels[:4, :4])
