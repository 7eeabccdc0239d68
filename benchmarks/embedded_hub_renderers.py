"""Images drawn by code, with labels: what the experts of the embedded hub learn from.

Nothing here is shared with the embedded tasks (`hubtune.tasks.rendered`): other shapes, other colours, other labels, other code.
"""

import math
import string
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 32
SCALE = 3  # images are drawn so many times larger, then averaged
GLYPHS = string.ascii_uppercase + string.ascii_lowercase + string.digits
TOOLS = ("hammer", "key", "spoon", "axe", "flag", "bolt")
DIRECTIONS = 24
GRID = 5
MOST_DOTS = 10
TEXTURES = (
    "smooth noise",
    "pink noise",
    "rough noise",
    "fine maze",
    "coarse maze",
    "cells",
    "cell walls",
    "spiral",
    "starburst",
    "plaid",
    "arcs",
    "patchwork",
    "fine grating",
    "coarse grating",
    "ripples of two sources",
    "shards",
)
CLASS_NAMES = {
    "glyphs": tuple(GLYPHS),
    "poses": tuple(f"{360 * k // DIRECTIONS} degrees" for k in range(DIRECTIONS)),
    "scenes": tuple(f"row {r} column {c}" for r in range(GRID) for c in range(GRID)),
    "dots": tuple(str(n) for n in range(1, MOST_DOTS + 1)),
    "textures": TEXTURES,
}


def draw(name: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` images uint8 (count, 32, 32, 3) of one source and their labels int64 (count,), balanced, in random order."""
    painter = _PAINTERS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    labels = rng.permutation(np.arange(count) % len(CLASS_NAMES[name]))
    return np.stack([painter(int(label), rng) for label in labels]), labels.astype(np.int64)


def two_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two RGB colours of clearly different brightness, in random order."""
    while True:
        a, b = rng.uniform(0, 255, (2, 3))
        if abs(a.mean() - b.mean()) > 60:
            return a, b


def canvas(colour: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A large canvas of one colour, shaded towards a random side."""
    slope = rng.uniform(-25, 25, 2)
    axis = np.linspace(-1, 1, SIDE * SCALE)
    shade = slope[0] * axis[:, None, None] + slope[1] * axis[None, :, None]
    return Image.fromarray(np.clip(colour + shade, 0, 255).astype(np.uint8))


def finish(image: Image.Image, rng: np.random.Generator, noise: float = 10.0) -> np.ndarray:
    """Average down to 32 x 32 and add pixel noise."""
    pixels = np.asarray(image, np.float64).reshape(SIDE, SCALE, SIDE, SCALE, 3).mean((1, 3))
    return np.clip(np.rint(pixels + rng.normal(0, noise, pixels.shape)), 0, 255).astype(np.uint8)


def as_colour(colour: np.ndarray) -> tuple[int, int, int]:
    """A colour as Pillow wants it."""
    r, g, b = (int(v) for v in colour)
    return r, g, b


def glyph(label: int, rng: np.random.Generator) -> np.ndarray:
    """One letter or figure, slanted, turned a little, of random weight, size and place."""
    side = SIDE * SCALE
    paper, ink = two_colours(rng)
    font = ImageFont.load_default(float(rng.uniform(20, 30) * SCALE))
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    pen.text((side / 2, side / 2), GLYPHS[label], fill=255, font=font, anchor="mm", stroke_width=int(rng.integers(0, 2 * SCALE)))
    angle, slant, squeeze = rng.uniform(-0.3, 0.3), rng.uniform(-0.25, 0.25), rng.uniform(0.8, 1.3)
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ np.array([[squeeze, slant], [0, 1]])
    move = rng.uniform(-3, 3, 2) * SCALE + side / 2
    offset = np.full(2, side / 2) - matrix @ move
    mask = mask.transform((side, side), Image.Transform.AFFINE, (*matrix[0], offset[0], *matrix[1], offset[1]), Image.Resampling.BILINEAR)
    image = canvas(paper, rng)
    image.paste(as_colour(ink), mask=mask)
    return finish(image, rng, noise=rng.uniform(0, 20))


def _outline(tool: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Polygons of one tool that points along +x, in a box of [-1, 1]."""
    thick = rng.uniform(0.08, 0.16)
    handle = np.array([[-1, -thick], [0.6, -thick], [0.6, thick], [-1, thick]])
    circle = np.stack([np.cos(np.linspace(0, 2 * np.pi, 16)), np.sin(np.linspace(0, 2 * np.pi, 16))], 1)
    heads = {
        "hammer": [np.array([[0.4, -0.55], [0.85, -0.55], [0.85, 0.55], [0.4, 0.55]])],
        "key": [circle * 0.35 + [0.6, 0], np.array([[-1, 0], [-0.75, 0], [-0.75, 0.4], [-1, 0.4]])],
        "spoon": [circle * [0.45, 0.28] + [0.5, 0]],
        "axe": [np.array([[0.3, 0], [0.1, 0.6], [0.9, 0.6], [0.7, 0]])],
        "flag": [np.array([[0.1, 0], [0.9, 0], [0.5, 0.7]])],
        "bolt": [np.array([[0.3, -0.35], [0.6, -0.35], [1.0, 0], [0.6, 0.35], [0.3, 0.35]])],
    }
    return [handle, *heads[tool]]


def pose(label: int, rng: np.random.Generator) -> np.ndarray:
    """One tool somewhere in the image; the label is the direction in which it points."""
    side = SIDE * SCALE
    paper, ink = two_colours(rng)
    image = canvas(paper, rng)
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 4))):
        x, y, r = *rng.uniform(0, side, 2), rng.uniform(1, 3) * SCALE
        pen.ellipse((x - r, y - r, x + r, y + r), fill=as_colour(rng.uniform(0, 255, 3)))
    angle = 2 * np.pi * (label + rng.uniform(-0.5, 0.5)) / DIRECTIONS
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centre = side / 2 + rng.uniform(-5, 5, 2) * SCALE
    size = rng.uniform(7, 12) * SCALE
    for polygon in _outline(TOOLS[int(rng.integers(len(TOOLS)))], rng):
        pen.polygon([tuple(point) for point in (polygon @ turn) * size + centre], fill=as_colour(ink))
    return finish(image, rng)


def scene(label: int, rng: np.random.Generator) -> np.ndarray:
    """Discs of many colours and one ring; the label is the cell of a 5 x 5 grid where the ring lies."""
    side = SIDE * SCALE
    paper, ink = two_colours(rng)
    image = canvas(paper, rng)
    pen = ImageDraw.Draw(image)
    place = (np.array([label % GRID, label // GRID]) + rng.uniform(0.1, 0.9, 2)) * side / GRID
    for _ in range(int(rng.integers(2, 8))):
        centre, r = rng.uniform(0, side, 2), rng.uniform(1.5, 4) * SCALE
        pen.ellipse((*(centre - r), *(centre + r)), fill=as_colour(rng.uniform(0, 255, 3)))
    r = rng.uniform(2.5, 4.5) * SCALE
    pen.ellipse((*(place - r), *(place + r)), outline=as_colour(ink), width=int(1.4 * SCALE))
    return finish(image, rng)


def dots(label: int, rng: np.random.Generator) -> np.ndarray:
    """label + 1 discs or rings that do not touch, on shaded paper."""
    side = SIDE * SCALE
    paper, ink = two_colours(rng)
    image = canvas(paper, rng)
    pen = ImageDraw.Draw(image)
    hollow = rng.random() < 0.4
    largest = rng.uniform(2.2, 4.0) * SCALE
    centres: list[np.ndarray] = []
    while len(centres) < label + 1:
        centre, r = rng.uniform(largest, side - largest, 2), rng.uniform(0.6, 1) * largest
        largest *= 0.997  # crowded images get smaller discs, so that the loop ends
        if all(np.hypot(*(centre - other)) > 2.3 * largest for other in centres):
            centres.append(centre)
            colour = as_colour(np.clip(ink + rng.uniform(-40, 40, 3), 0, 255))
            box = (*(centre - r), *(centre + r))
            pen.ellipse(box, outline=colour, width=SCALE + 1) if hollow else pen.ellipse(box, fill=colour)
    return finish(image, rng)


def _noise(exponent: float, rng: np.random.Generator, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Gaussian noise (32, 32) with amplitude f^-exponent between two radial frequencies (1 is Nyquist), unit variance."""
    f = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None]) * 2
    amplitude = np.where((f > low) & (f <= high), np.maximum(f, 2 / SIDE) ** -exponent, 0.0)
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * amplitude).real
    return field / field.std()


def _cells(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voronoi cells: index of the nearest seed, distance to it, distance to the second nearest."""
    seeds = rng.uniform(-4, SIDE + 4, (count, 2))
    grid = np.stack(np.mgrid[:SIDE, :SIDE], -1)
    distance = np.hypot(*np.moveaxis(grid[:, :, None] - seeds, -1, 0))
    order = np.sort(distance, -1)
    return distance.argmin(-1), order[..., 0], order[..., 1]


def texture(label: int, rng: np.random.Generator) -> np.ndarray:
    """A field in [0, 1] of one family between two colours."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    name = TEXTURES[label]
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    u = x * math.cos(angle) + y * math.sin(angle)
    v = -x * math.sin(angle) + y * math.cos(angle)
    cx, cy = rng.uniform(4, 28, 2)
    radius, theta = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
    if name.endswith("noise"):
        field = 0.5 + 0.25 * _noise({"smooth": 2.2, "pink": 1.2, "rough": 0.3}[name.split()[0]], rng)
    elif name.endswith("maze"):
        low = 0.35 if name.startswith("fine") else 0.15
        field = 0.5 + 3 * _noise(0, rng, low, low + 0.12)
    elif name.startswith("cell"):
        index, near, second = _cells(rng, int(rng.integers(12, 40)))
        field = rng.random(64)[index] if name == "cells" else (second - near) / 2
    elif name == "spiral":
        field = 0.5 + np.sin(rng.choice([-1, 1]) * int(rng.integers(1, 5)) * theta + radius * rng.uniform(0.5, 1.1) + phase)
    elif name == "starburst":
        field = 0.5 + np.sin(int(rng.integers(6, 16)) * theta + phase)
    elif name == "plaid":
        w = x * math.cos(angle + 1.05) + y * math.sin(angle + 1.05)
        field = 0.5 + 0.4 * (np.sin(u * rng.uniform(0.6, 1.3)) + np.sin(w * rng.uniform(0.6, 1.3)))
    elif name == "arcs":
        s = int(rng.integers(5, 9))
        flip = rng.random((9, 9))[(y // s).astype(int), (x // s).astype(int)] < 0.5
        a, b = np.where(flip, x % s, s - 1 - x % s), y % s
        field = 1.5 - np.minimum(np.abs(np.hypot(a, b) - s / 2), np.abs(np.hypot(s - a, s - b) - s / 2))
    elif name == "patchwork":
        s = rng.uniform(3, 7)
        field = rng.random((64, 64))[((u + 48) // s).astype(int), ((v + 48) // s).astype(int)]
    elif name.endswith("grating"):
        field = 0.5 + 0.5 * np.sin(u * (rng.uniform(1.6, 2.4) if name.startswith("fine") else rng.uniform(0.4, 0.9)) + phase)
    elif name == "ripples of two sources":
        far = np.hypot(x - rng.uniform(0, 32), y - rng.uniform(0, 32))
        k = rng.uniform(0.8, 1.6)
        field = 0.5 + 0.3 * (np.sin(radius * k + phase) + np.sin(far * k))
    else:
        field = np.zeros_like(x)
        for _ in range(int(rng.integers(8, 16))):
            direction = rng.uniform(0, 2 * np.pi)
            side = (x - rng.uniform(0, 32)) * math.cos(direction) + (y - rng.uniform(0, 32)) * math.sin(direction) > 0
            field = np.where(side, 1 - field, field) * rng.uniform(0.9, 1)
    a, b = two_colours(rng)
    pixels = a + (b - a) * np.clip(field, 0, 1)[..., None]
    return np.clip(np.rint(pixels + rng.normal(0, rng.uniform(2, 14), pixels.shape)), 0, 255).astype(np.uint8)


_PAINTERS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "glyphs": glyph,
    "poses": pose,
    "scenes": scene,
    "dots": dots,
    "textures": texture,
}
