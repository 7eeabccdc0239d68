"""The embedded tasks: small image-classification tasks that need no download, drawn by code or shipped with scikit-learn.

Five are drawn from a fixed seed, in the spirit of VTAB's structured group (where an object lies, which way it points, how many there are)
and of fine-grained recognition; one, ``digits``, is scikit-learn's scans of handwritten digits. Shapes are signed distances d, negative
inside, evaluated at the centres of the pixels; clip(1/2 - d, 0, 1) is their coverage of a pixel, so that edges are smooth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int64, UInt8
from PIL import Image

from hubtune.errors import unknown_name

SIDE = 32
SIZES = MappingProxyType({"train": 800, "val": 200, "test": 1000})
_SEED = 20260
_Y, _X = np.mgrid[:SIDE, :SIDE] + 0.5
_DIRECTIONS = 16
_BINS = 4  # of a row and of a column
_MOST = 8
_SHAPES = (
    *("triangle", "square", "pentagon", "hexagon", "octagon", "ellipse"),
    *("star of 4", "star of 5", "star of 6", "flower of 4", "flower of 5", "flower of 6"),
)
_TEXTURES = ("stripes", "checks", "dots", "rings", "waves", "zigzag", "bricks", "hatching", "scales", "blobs", "speckle", "weave")

Rng = np.random.Generator
Field = Float[np.ndarray, "N 32 32"]


@dataclass(frozen=True, kw_only=True)
class EmbeddedTask:
    """A task that comes with the package."""

    name: str
    """How it is asked for."""
    description: str
    """What the label says about the image."""
    class_names: tuple[str, ...]
    """One name per label."""
    draw: Callable[[np.ndarray, Rng], Float[np.ndarray, "N 32 32 3"]] | None
    """Images, in 0 to 255, for given labels; None where the images are not drawn."""


def render(name: str) -> dict[str, tuple[UInt8[np.ndarray, "N 32 32 3"], Int64[np.ndarray, " N"]]]:
    """Images and labels of one embedded task: 800 to train, 200 to validate, 1000 to test (797 for ``digits``).

    The same on every machine and at every call; every class is in every split; no image is in two splits.

    Args:
        name: a key of `EMBEDDED_TASKS`.

    Returns:
        For "train", "val" and "test": images uint8 (N, 32, 32, 3) and labels int64 (N,).

    Raises:
        UnknownNameError: no embedded task has this name.
    """
    if name not in EMBEDDED_TASKS:
        raise unknown_name("embedded task", name, EMBEDDED_TASKS)
    task = EMBEDDED_TASKS[name]
    if task.draw is None:
        return _digits()
    splits = {}
    for index, (split, size) in enumerate(SIZES.items()):
        rng = np.random.default_rng([_SEED, index, *name.encode()])
        labels = rng.permutation(np.arange(size) % len(task.class_names)).astype(np.int64)
        splits[split] = (np.clip(np.rint(task.draw(labels, rng)), 0, 255).astype(np.uint8), labels)
    return splits


def _digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """scikit-learn's 1797 digits, enlarged from 8 x 8; rows are spread so that every split has the classes in the same proportions."""
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    shuffled = np.random.default_rng(_SEED).permutation(len(target))
    labels = target[shuffled]
    rank = np.zeros(len(labels))
    for digit in range(10):
        rows = np.flatnonzero(labels == digit)
        rank[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    order = shuffled[np.argsort(rank, kind="stable")]
    small = np.rint(pixels[order].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    large = np.stack([np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in small])
    images, labels = np.repeat(large[..., None], 3, axis=3), target[order].astype(np.int64)
    ends = np.cumsum([0, SIZES["train"], SIZES["val"], len(labels)])
    return {split: (images[a:b], labels[a:b]) for split, a, b in zip(SIZES, ends, np.minimum(ends[1:], len(labels)), strict=False)}


# Colours, backgrounds and painting


def _uniform(rng: Rng, n: int, low: float, high: float) -> Float[np.ndarray, "N 1 1"]:
    """One number per image, ready to meet a field."""
    return rng.uniform(low, high, (n, 1, 1))


def _colours(rng: Rng, n: int, contrast: float) -> tuple[Float[np.ndarray, "N 1 1 3"], Float[np.ndarray, "N 1 1 3"]]:
    """Background and foreground colours whose brightness differs by ``contrast`` of 255 at least."""
    back, tries = rng.uniform(20, 235, (n, 1, 3)), rng.uniform(0, 255, (n, 16, 3))
    far = np.abs(tries.mean(2) - back.mean(2)) >= contrast
    far[:, -1] = True
    tries[:, -1] = np.where(back[:, 0].mean(1, keepdims=True) > 127, 20, 235)
    front = tries[np.arange(n), far.argmax(1)]
    return back[:, None], front[:, None, None]


def _ground(rng: Rng, colours: Float[np.ndarray, "N 1 1 3"], amount: float) -> Float[np.ndarray, "N 32 32 3"]:
    """A background of one colour with slow patches of light and shade: a random 5 x 5 grid, interpolated bilinearly."""
    at = np.linspace(0, 4, SIDE)
    low = np.minimum(at.astype(int), 3)
    weights = np.zeros((SIDE, 5))
    weights[np.arange(SIDE), low] = low + 1 - at
    weights[np.arange(SIDE), low + 1] = at - low
    grid = rng.uniform(-amount, amount, (len(colours), 5, 5))
    return colours + (weights @ grid @ weights.T)[..., None]


def _paint(image: np.ndarray, distance: Field, colour: np.ndarray) -> np.ndarray:
    """Cover the image with a colour inside a shape."""
    return image + np.clip(0.5 - distance, 0, 1)[..., None] * (colour - image)


def _grain(rng: Rng, image: np.ndarray, sigma: float) -> np.ndarray:
    """Add independent pixel noise."""
    return image + rng.normal(0, sigma, image.shape)


# Signed distances in pixels around a centre; x and y are (N, 32, 32) offsets from it


def _turned(x: Field, y: Field, angle: Float[np.ndarray, "N 1 1"]) -> tuple[Field, Field]:
    """Coordinates along and across a direction; angles run counter-clockwise from the right."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos - y * sin, x * sin + y * cos


def _square(x: Field, y: Field, r: np.ndarray) -> Field:
    return np.maximum(np.abs(x), np.abs(y)) - r


def _triangle(x: Field, y: Field, r: np.ndarray) -> Field:
    return np.maximum(np.abs(x) * 0.87 - y * 0.5, y) - r * 0.6


def _plus(x: Field, y: Field, r: np.ndarray) -> Field:
    a, b = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(a - r, b - r / 3), np.maximum(b - r, a - r / 3))


def _dart(x: Field, y: Field, r: np.ndarray) -> Field:
    """An arrowhead with a notched tail that points along +x."""
    b = np.abs(y)
    return np.maximum((x - r) * 0.5 + b * 0.87, (-0.35 * r - x) * 0.8 - b * 0.6)


# The tasks


def _location(labels: np.ndarray, rng: Rng) -> np.ndarray:
    """A plus sign in one of 4 x 4 cells, among squares and triangles."""
    n = len(labels)
    back, front = _colours(rng, n, 25)
    image = _ground(rng, back, 25)
    cell = SIDE / _BINS
    cx = ((labels % _BINS) * cell)[:, None, None] + _uniform(rng, n, 0.12, 0.88) * cell
    cy = ((labels // _BINS) * cell)[:, None, None] + _uniform(rng, n, 0.12, 0.88) * cell
    for _ in range(7):
        x, y = _X - _uniform(rng, n, 0, SIDE), _Y - _uniform(rng, n, 0, SIDE)
        r = _uniform(rng, n, 1.5, 3.2)
        shape = np.where(rng.random((n, 1, 1)) < 0.5, _square(x, y, r), _triangle(x, y, r * 1.3))
        image = _paint(image, shape, rng.uniform(0, 255, (n, 1, 1, 3)))
    x, y = _turned(_X - cx, _Y - cy, _uniform(rng, n, -0.4, 0.4))
    image = _paint(image, _plus(x, y, _uniform(rng, n, 2.4, 3.6)), front)
    return _grain(rng, image, 14)


def _orientation(labels: np.ndarray, rng: Rng) -> np.ndarray:
    """An arrowhead that points in one of 16 directions, among small squares."""
    n = len(labels)
    back, front = _colours(rng, n, 30)
    image = _ground(rng, back, 25)
    for _ in range(5):
        x, y = _X - _uniform(rng, n, 0, SIDE), _Y - _uniform(rng, n, 0, SIDE)
        image = _paint(image, _square(x, y, _uniform(rng, n, 0.8, 2.0)), rng.uniform(0, 255, (n, 1, 1, 3)))
    angle = 2 * np.pi / _DIRECTIONS * (labels[:, None, None] + _uniform(rng, n, -0.42, 0.42))
    x, y = _turned(_X - _uniform(rng, n, 8, 24), _Y - _uniform(rng, n, 8, 24), angle)
    image = _paint(image, _dart(x, y, _uniform(rng, n, 3.5, 7.0)), front)
    return _grain(rng, image, 18)


def _counting(labels: np.ndarray, rng: Rng) -> np.ndarray:
    """One to eight squares and triangles, each in a cell of its own of a 4 x 4 grid, crossed by a thin line."""
    n = len(labels)
    back, front = _colours(rng, n, 45)
    image = _ground(rng, back, 25)
    along, _ = _turned(_X - _uniform(rng, n, 4, 28), _Y - _uniform(rng, n, 4, 28), _uniform(rng, n, 0, np.pi))
    image = _paint(image, np.abs(along) - 0.6, rng.uniform(0, 255, (n, 1, 1, 3)))
    cells = rng.permuted(np.tile(np.arange(16), (n, 1)), axis=1)
    for index in range(_MOST):
        cx = cells[:, index, None, None] % 4 * 8 + 4 + _uniform(rng, n, -1.3, 1.3)
        cy = cells[:, index, None, None] // 4 * 8 + 4 + _uniform(rng, n, -1.3, 1.3)
        x, y = _turned(_X - cx, _Y - cy, _uniform(rng, n, 0, 2 * np.pi))
        r = _uniform(rng, n, 1.8, 2.9)
        shape = np.where(rng.random((n, 1, 1)) < 0.5, _square(x, y, r), _triangle(x, y, r * 1.4))
        shape = np.where(index <= labels[:, None, None], shape, SIDE)
        image = _paint(image, shape, front + rng.uniform(-35, 35, (n, 1, 1, 3)))
    return _grain(rng, image, 12)


def _radius(label: int, theta: Field) -> Field | float:
    """The outline of a shape in polar form: radius in [0, 1] by angle."""
    name, _, k = _SHAPES[label].partition(" of ")
    if name == "ellipse":
        return 0.72 / np.sqrt(1 - 0.48 * np.cos(theta) ** 2)
    corners = int(k) if k else {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}[name]
    if name == "flower":
        return 0.78 + 0.22 * np.cos(corners * theta)
    within = np.mod(theta, 2 * np.pi / corners) - np.pi / corners
    if name == "star":
        return 0.5 + 0.5 * np.abs(within) * corners / np.pi
    return np.cos(np.pi / corners) / np.cos(within)


def _shapes(labels: np.ndarray, rng: Rng) -> np.ndarray:
    """One of twelve similar outlines, turned and squeezed, sometimes filled, crossed by a thin line."""
    n = len(labels)
    back, front = _colours(rng, n, 45)
    image = _ground(rng, back, 25)
    x, y = _X - _uniform(rng, n, 14, 18), _Y - _uniform(rng, n, 14, 18)
    along, across = _turned(x, y, _uniform(rng, n, 0, 2 * np.pi))
    along = along * _uniform(rng, n, 1, 1.12)
    theta, r = np.arctan2(across, along), _uniform(rng, n, 9, 12.5)
    outline = np.empty_like(theta)
    for label in range(len(_SHAPES)):
        rows = labels == label
        outline[rows] = _radius(label, theta[rows])
    distance = (np.hypot(along, across) - r * outline) * 0.8
    filled = rng.random((n, 1, 1)) < 0.3
    image = _paint(image, np.where(filled, distance, np.abs(distance) - _uniform(rng, n, 0.6, 1.2)), front)
    x, y = _turned(_X - _uniform(rng, n, 4, 28), _Y - _uniform(rng, n, 4, 28), _uniform(rng, n, 0, np.pi))
    image = _paint(image, np.abs(x) - 0.5, rng.uniform(0, 255, (n, 1, 1, 3)))
    return _grain(rng, image, 10)


def _pattern(label: int, u: Field, v: Field, rng: Rng) -> Field:
    """A periodic field of one family, period 1 in u and v, about [-1, 1]; (u, v) are turned and scaled pixel coordinates."""
    n, name, turn = len(u), _TEXTURES[label], 2 * np.pi
    if name == "stripes":
        return np.sin(turn * u)
    if name == "checks":
        return np.sign(np.sin(turn * u) * np.sin(turn * v))
    if name == "dots":
        return 1.5 - 5 * np.hypot(u - np.rint(u), v - np.rint(v))
    if name == "rings":
        return np.sin(turn * np.hypot(u - _uniform(rng, n, -2, 2), v - _uniform(rng, n, -2, 2)))
    if name == "waves":
        return np.sin(turn * u + 1.8 * np.sin(turn * v / 2))
    if name == "zigzag":
        return np.sin(turn * (u + np.abs(v / 2 - np.rint(v / 2)) * 2))
    if name == "bricks":
        row = np.floor(v)
        return 4 * np.minimum(v - row, np.abs(np.mod(u / 2 + row / 2, 1) - 0.5) * 2) - 1
    if name == "hatching":
        return 1 - 2.2 * np.maximum(np.abs(np.sin(turn * u / 2)), np.abs(np.sin(turn * v / 2))) ** 0.5 * np.minimum(
            np.abs(np.sin(turn * u / 2)) * 3, 1
        ) * np.minimum(np.abs(np.sin(turn * v / 2)) * 3, 1)
    if name == "scales":
        row = np.floor(v * 1.4)
        return 2 * np.hypot(np.mod(u + row / 2, 1) - 0.5, np.mod(v * 1.4, 1)) * 1.6 - 1.5
    if name == "weave":
        over = np.mod(np.floor(u) + np.floor(v), 2) == 0
        return np.where(over, np.sin(turn * u / 2), np.cos(turn * v / 2))
    noise = rng.normal(size=(n, SIDE, SIDE))
    if name == "speckle":
        return np.where(np.abs(noise) > _uniform(rng, n, 1.2, 1.8), 1.0, -1.0)
    for axis in (1, 2):
        for _ in range(4):
            noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)) / 3
    return np.clip(noise * 9, -1, 1)


def _texture(labels: np.ndarray, rng: Rng) -> np.ndarray:
    """One of twelve patterns of any direction, scale, contrast and colour under noise."""
    n = len(labels)
    back, front = _colours(rng, n, 25)
    shifted = _X + _uniform(rng, n, -40, 40), _Y + _uniform(rng, n, -40, 40)
    u, v = _turned(*shifted, _uniform(rng, n, 0, 2 * np.pi))
    period = _uniform(rng, n, 4.5, 10)
    field = np.empty((n, SIDE, SIDE))
    for label in range(len(_TEXTURES)):
        rows = labels == label
        field[rows] = _pattern(label, u[rows] / period[rows], v[rows] / period[rows], rng)
    strength = _uniform(rng, n, 0.5, 1)[..., None]
    image = back + (front - back) * np.clip(field / 2 + 0.5, 0, 1)[..., None] * strength
    return _grain(rng, image + _ground(rng, np.zeros((n, 1, 1, 3)), 30), 20)


EMBEDDED_TASKS: Mapping[str, EmbeddedTask] = MappingProxyType(
    {
        "digits": EmbeddedTask(
            name="digits",
            description="which digit a person wrote (scikit-learn's scans)",
            class_names=tuple("0123456789"),
            draw=None,
        ),
        "location": EmbeddedTask(
            name="location",
            description="in which cell of a 4 x 4 grid the plus sign lies",
            class_names=tuple(f"row {row} column {column}" for row in range(_BINS) for column in range(_BINS)),
            draw=_location,
        ),
        "orientation": EmbeddedTask(
            name="orientation",
            description="in which of 16 directions the arrowhead points",
            class_names=tuple(f"{360 * k / _DIRECTIONS:g} degrees" for k in range(_DIRECTIONS)),
            draw=_orientation,
        ),
        "counting": EmbeddedTask(
            name="counting",
            description="how many squares and triangles there are",
            class_names=tuple(str(k) for k in range(1, _MOST + 1)),
            draw=_counting,
        ),
        "texture": EmbeddedTask(name="texture", description="which pattern fills the image", class_names=_TEXTURES, draw=_texture),
        "shapes": EmbeddedTask(name="shapes", description="which outline is drawn", class_names=_SHAPES, draw=_shapes),
    }
)
