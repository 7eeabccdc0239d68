"""Laws of the embedded tasks: the same everywhere, every class in every split, no image twice."""

import numpy as np
import pytest

from hubtune.errors import UnknownNameError
from hubtune.tasks.rendered import EMBEDDED_TASKS, SIZES, render

NAMES = list(EMBEDDED_TASKS)
# Mean of the pixels and sum of the first 16 labels of train, val and test.
GOLDEN = {
    "digits": ((77.9499, 73), (78.3509, 71), (77.7621, 65)),
    "location": ((129.9986, 145), (124.4138, 97), (127.2763, 98)),
    "orientation": ((127.8014, 120), (127.0601, 135), (126.2408, 83)),
    "counting": ((129.2200, 53), (127.0773, 44), (127.8031, 55)),
    "texture": ((127.0118, 93), (128.0819, 81), (126.7070, 101)),
    "shapes": ((127.8205, 101), (127.7325, 86), (128.3245, 83)),
}


@pytest.fixture(scope="module")
def rendered():
    return {name: render(name) for name in NAMES}


def test_the_six_tasks_are_there():
    assert NAMES == ["digits", "location", "orientation", "counting", "texture", "shapes"]


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_types(rendered, name):
    for split, size in SIZES.items():
        images, labels = rendered[name][split]
        if (name, split) == ("digits", "test"):
            size = 797
        assert images.shape == (size, 32, 32, 3)
        assert images.dtype == np.uint8
        assert labels.shape == (size,)
        assert labels.dtype == np.int64


@pytest.mark.parametrize("name", NAMES)
def test_every_class_is_in_every_split_in_the_same_proportion(rendered, name):
    classes = len(EMBEDDED_TASKS[name].class_names)
    for images, labels in rendered[name].values():
        counts = np.bincount(labels, minlength=classes)
        assert len(counts) == classes
        assert counts.min() >= 0.9 * len(images) / classes - 1
        assert counts.max() <= 1.1 * len(images) / classes + 1


@pytest.mark.parametrize("name", NAMES)
def test_no_image_is_there_twice(rendered, name):
    seen = [image.tobytes() for images, _ in rendered[name].values() for image in images]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("name", ["digits", "location"])
def test_rendering_again_gives_the_same_images(rendered, name):
    for split, (images, labels) in render(name).items():
        assert np.array_equal(images, rendered[name][split][0])
        assert np.array_equal(labels, rendered[name][split][1])


@pytest.mark.parametrize("name", NAMES)
def test_the_images_are_those_the_published_numbers_were_measured_on(rendered, name):
    # Means, not bytes: another machine's sine may differ in its last bit and turn a pixel by one.
    found = [(float(images.mean()), int(labels[:16].sum())) for images, labels in rendered[name].values()]
    assert found == [(pytest.approx(mean, abs=1e-4), total) for mean, total in GOLDEN[name]]


def test_images_vary_within_a_class_and_use_the_whole_range(rendered):
    for name in NAMES:
        images, labels = rendered[name]["train"]
        first = images[labels == 0].astype(float)
        assert first.std(axis=0).mean() > 10
        assert images.min() < 30
        assert images.max() > 225


def test_class_names_are_distinct():
    for task in EMBEDDED_TASKS.values():
        assert len(set(task.class_names)) == len(task.class_names)
        assert task.description


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'texture'"):
        render("textures")
