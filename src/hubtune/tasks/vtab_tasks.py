"""The 19 tasks of VTAB-1K: which rows of which data set they are, and what a label is.

Source: Zhai et al. (2019), appendices A and B. Sizes are those of the versions in TensorFlow Datasets that the benchmark names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hubtune.tasks.vtab_labels import clevr_count, clevr_distance, grouped, kitti_distance

TRAIN, VAL = 800, 200


@dataclass(frozen=True)
class Cut:
    """Rows of one split of the data set: from a percentage of it on, so many, or all that follow."""

    split: str
    """train, validation or test, as TensorFlow Datasets calls it."""
    percent: int = 0
    count: int | None = None

    def rows(self, size: int) -> range:
        """Of a split of ``size`` rows; a percentage of rows is rounded down."""
        start = self.percent * size // 100
        return range(start, size if self.count is None else min(size, start + self.count))


@dataclass(frozen=True, kw_only=True)
class VtabTask:
    """One task."""

    group: str
    """natural, specialized or structured."""
    dataset: str
    """Name, configuration and version in TensorFlow Datasets."""
    classes: int
    sizes: Mapping[str, int]
    """Rows of each split that is read, as a check."""
    val: Cut
    test: Cut
    label: str = "label"
    """The feature that the label is made of."""
    rule: Callable[[Any], int] | None = None
    """From that feature to the class; None where the feature is the class."""
    binary: bool = False
    """Whether pixels are 0 and 1, to be shown as 0 and 255."""
    torchvision: str | None = None
    """The class in torchvision.datasets that has the same splits of the same images, where it tells labels without opening images."""

    @property
    def train(self) -> Cut:
        return Cut("train", 0, TRAIN)


def _own_val() -> Cut:
    return Cut("validation", 0, VAL)


def _held_out(percent: int) -> Cut:
    return Cut("train", percent, VAL)


_TEST = Cut("test")
_CLEVR = {
    "group": "structured",
    "dataset": "clevr:3.*.*",
    "sizes": {"train": 70_000, "validation": 15_000},
    "label": "objects",
    "val": _held_out(90),
    "test": Cut("validation"),
}
_DSPRITES = {
    "group": "structured",
    "dataset": "dsprites:2.*.*",
    "classes": 16,
    "sizes": {"train": 737_280},
    "val": _held_out(80),
    "test": Cut("train", 90),
    "binary": True,
}
_SMALLNORB = {
    "group": "structured",
    "dataset": "smallnorb:2.*.*",
    "sizes": {"train": 24_300, "test": 24_300},
    "val": Cut("test", 0, VAL),
    "test": Cut("test", 50),
}

TASKS: dict[str, VtabTask] = {
    "caltech101": VtabTask(
        group="natural",
        dataset="caltech101:3.*.*",
        classes=102,
        sizes={"train": 3_060, "test": 6_084},
        val=_held_out(90),
        test=_TEST,
    ),
    "cifar100": VtabTask(
        group="natural",
        dataset="cifar100:3.*.*",
        classes=100,
        sizes={"train": 50_000, "test": 10_000},
        val=_held_out(90),
        test=_TEST,
        torchvision="CIFAR100",
    ),
    "dtd": VtabTask(
        group="natural",
        dataset="dtd:3.*.*",
        classes=47,
        sizes={"train": 1_880, "validation": 1_880, "test": 1_880},
        val=_own_val(),
        test=_TEST,
        torchvision="DTD",
    ),
    "flowers102": VtabTask(
        group="natural",
        dataset="oxford_flowers102:2.*.*",
        classes=102,
        sizes={"train": 1_020, "validation": 1_020, "test": 6_149},
        val=_own_val(),
        test=_TEST,
        torchvision="Flowers102",
    ),
    "pets": VtabTask(
        group="natural",
        dataset="oxford_iiit_pet:3.*.*",
        classes=37,
        sizes={"train": 3_680, "test": 3_669},
        val=_held_out(80),
        test=_TEST,
        torchvision="OxfordIIITPet",
    ),
    "sun397": VtabTask(
        group="natural",
        dataset="sun397/tfds:4.*.*",
        classes=397,
        sizes={"train": 76_128, "validation": 10_875, "test": 21_750},
        val=_own_val(),
        test=_TEST,
    ),
    "svhn": VtabTask(
        group="natural",
        dataset="svhn_cropped:3.*.*",
        classes=10,
        sizes={"train": 73_257, "test": 26_032},
        val=_held_out(90),
        test=_TEST,
        torchvision="SVHN",
    ),
    "camelyon": VtabTask(
        group="specialized",
        dataset="patch_camelyon:2.*.*",
        classes=2,
        sizes={"train": 262_144, "validation": 32_768, "test": 32_768},
        val=_own_val(),
        test=_TEST,
    ),
    "eurosat": VtabTask(
        group="specialized",
        dataset="eurosat/rgb:2.*.*",
        classes=10,
        sizes={"train": 27_000},
        val=_held_out(60),
        test=Cut("train", 80),
    ),
    "resisc45": VtabTask(
        group="specialized",
        dataset="resisc45:3.*.*",
        classes=45,
        sizes={"train": 31_500},
        val=_held_out(60),
        test=Cut("train", 80),
    ),
    "retinopathy": VtabTask(
        group="specialized",
        dataset="diabetic_retinopathy_detection/btgraham-300:3.*.*",
        classes=5,
        sizes={"train": 35_126, "validation": 10_906, "test": 42_670},
        val=_own_val(),
        test=_TEST,
    ),
    "clevr_count": VtabTask(**_CLEVR, classes=8, rule=clevr_count),
    "clevr_distance": VtabTask(**_CLEVR, classes=6, rule=clevr_distance),
    "dmlab": VtabTask(
        group="structured",
        dataset="dmlab:2.0.1",
        classes=6,
        sizes={"train": 65_550, "validation": 22_628, "test": 22_735},
        val=_own_val(),
        test=_TEST,
    ),
    "kitti_distance": VtabTask(
        group="structured",
        dataset="kitti:3.*.*",
        classes=4,
        sizes={"train": 6_347, "validation": 423, "test": 711},
        label="objects",
        rule=kitti_distance,
        val=_own_val(),
        test=_TEST,
    ),
    "dsprites_location": VtabTask(**_DSPRITES, label="label_x_position", rule=grouped(2.0)),
    "dsprites_orientation": VtabTask(**_DSPRITES, label="label_orientation", rule=grouped(2.5)),
    "smallnorb_azimuth": VtabTask(**_SMALLNORB, classes=18, label="label_azimuth"),
    "smallnorb_elevation": VtabTask(**_SMALLNORB, classes=9, label="label_elevation"),
}
