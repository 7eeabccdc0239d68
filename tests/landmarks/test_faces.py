import numpy as np

from hubtune.landmarks import faces


def test_faces_are_the_same_at_every_call_and_a_part_is_a_part():
    images, points = faces.render("val", 3)
    again, more = faces.render("val", 5)
    assert np.array_equal(images, again[:3])
    assert np.array_equal(points, more[:3])
    assert images.shape == (3, 64, 64, 3)
    assert points.shape == (3, 26, 2)
    assert not np.array_equal(faces.render("test", 3)[0], images)


def test_points_are_where_the_drawing_has_them():
    """Pupils are dark, in the middle of a bright eye, wherever nothing covers them."""
    images, points = faces.render("test", 60)
    at = points[:, faces.POINT_NAMES.index("left_pupil")] * faces.SIDE
    darker = 0
    for image, (x, y) in zip(images.mean(-1), at, strict=True):
        i, j = int(np.clip(y, 4, 59)), int(np.clip(x, 4, 59))
        ring = np.median([image[i, j - 2], image[i, j + 2], image[i - 3, j], image[i + 3, j]])
        darker += image[i - 1 : i + 2, j - 1 : j + 2].min() < ring - 10
    assert darker > 40


def test_pairs_are_left_and_right_of_one_another():
    for left, right in faces.PAIRS:
        assert faces.POINT_NAMES[left].replace("left", "right") == faces.POINT_NAMES[right]
    assert len(faces.POINT_NAMES) == 26


def test_points_lie_in_the_image_but_for_a_few():
    points = np.concatenate([faces.render(split, 1)[1] for split in faces.SIZES])
    assert ((points > -0.2) & (points < 1.2)).all()
