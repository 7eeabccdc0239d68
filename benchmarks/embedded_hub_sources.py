"""What the networks of the embedded hub are pre-trained on: parts of CIFAR-100, and images drawn by code."""

import functools
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import embedded_hub_renderers as renderers
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

ANIMALS = (
    *("aquarium_fish", "bear", "beaver", "bee", "beetle", "butterfly", "camel", "caterpillar", "cattle", "chimpanzee", "cockroach", "crab"),
    *("crocodile", "dinosaur", "dolphin", "elephant", "flatfish", "fox", "hamster", "kangaroo", "leopard", "lion", "lizard", "lobster"),
    *("mouse", "otter", "porcupine", "possum", "rabbit", "raccoon", "ray", "seal", "shark", "shrew", "skunk", "snail", "snake", "spider"),
    *("squirrel", "tiger", "trout", "turtle", "whale", "wolf", "worm"),
)
THINGS = (
    *("bed", "bicycle", "bottle", "bowl", "bridge", "bus", "can", "castle", "chair", "clock", "couch", "cup", "house", "keyboard", "lamp"),
    *("lawn_mower", "motorcycle", "pickup_truck", "plate", "road", "rocket", "skyscraper", "streetcar", "table", "tank", "telephone"),
    *("television", "tractor", "train", "wardrobe"),
)


@dataclass(frozen=True)
class Images:
    """Labelled images: pixels uint8 (N, 32, 32, 3), labels int64 (N,)."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One upstream data set and how its images may be changed without changing their labels."""

    name: str
    pretraining: str
    load: Callable[[Path], tuple[Images, Images, list[str]]]
    paradigm: str = "supervised classification"
    flips: bool = False
    shift: int = field(default=0, metadata={"doc": "random translation by at most so many pixels"})
    rotation_labels: bool = field(default=False, metadata={"doc": "the label is the quarter turn applied to the image"})
    provenance: str = "drawn by benchmarks/embedded_hub_renderers.py"


@functools.cache
def read_parquet(path: Path) -> tuple[Images, list[str]]:
    """All rows of a Hugging Face image-classification parquet file, and its class names."""
    table = pq.read_table(path)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in table["image"].to_pylist()])
    return Images(pixels, table["label"].to_numpy().astype(np.int64)), features["label"]["names"]


def cifar100(folder: Path, classes: tuple[str, ...] | None = None) -> tuple[Images, Images, list[str]]:
    """The train and test rows of CIFAR-100, of some of its classes only where ``classes`` are given."""
    splits = []
    for split in ("train", "test"):
        images, names = read_parquet(folder / "cifar100" / f"{split}.parquet")
        if classes is not None:
            position = np.array([classes.index(name) if name in classes else -1 for name in names])
            kept = position[images.labels] >= 0
            images = Images(images.pixels[kept], position[images.labels[kept]])
        splits.append(images)
    return splits[0], splits[1], list(classes or names)


def rotations(folder: Path) -> tuple[Images, Images, list[str]]:
    """CIFAR-100 without its labels: every test image in all four quarter turns; training images are turned when they are used."""
    train, test, _ = cifar100(folder)
    turned = np.concatenate([np.rot90(test.pixels, k, axes=(1, 2)) for k in range(4)])
    return train, Images(turned, np.repeat(np.arange(4), len(test))), ["0", "90", "180", "270"]


def rendered(name: str) -> Callable[[Path], tuple[Images, Images, list[str]]]:
    """A source that needs no data: a fixed number of images drawn by code with a fixed seed."""

    def load(folder: Path) -> tuple[Images, Images, list[str]]:
        train, test = (Images(*renderers.draw(name, count, seed)) for count, seed in ((12_000, 1), (2_000, 2)))
        return train, test, list(renderers.CLASS_NAMES[name])

    return load


_CIFAR = "CIFAR-100 (Krizhevsky, 2009), first 25,000 train rows class by class in turn; accuracy on 3,000 test rows"
SOURCES = {
    "cifar100": Source(name="CIFAR-100", pretraining="CIFAR-100", load=cifar100, flips=True, shift=4, provenance=_CIFAR),
    "animals": Source(
        name="CIFAR-100 animals",
        pretraining="the 45 animal classes of CIFAR-100",
        load=functools.partial(cifar100, classes=ANIMALS),
        flips=True,
        shift=4,
        provenance=_CIFAR,
    ),
    "things": Source(
        name="CIFAR-100 things",
        pretraining="the 30 classes of vehicles, furniture, devices and buildings of CIFAR-100",
        load=functools.partial(cifar100, classes=THINGS),
        flips=True,
        shift=4,
        provenance=_CIFAR,
    ),
    "rotation": Source(
        name="CIFAR-100 rotations",
        pretraining="CIFAR-100 without labels",
        load=rotations,
        paradigm="self-supervised (rotation prediction)",
        flips=True,
        shift=4,
        rotation_labels=True,
        provenance=_CIFAR,
    ),
    "glyphs": Source(name="rendered glyphs", pretraining="rendered letters and figures", load=rendered("glyphs"), shift=2),
    "textures": Source(name="rendered textures", pretraining="rendered textures", load=rendered("textures"), flips=True, shift=2),
    "scenes": Source(name="rendered scenes", pretraining="rendered scenes, labelled by where the ring is", load=rendered("scenes")),
    "poses": Source(name="rendered poses", pretraining="rendered tools, labelled by their direction", load=rendered("poses"), shift=3),
    "dots": Source(
        name="rendered dots", pretraining="rendered discs and rings, labelled by their number", load=rendered("dots"), flips=True
    ),
}
