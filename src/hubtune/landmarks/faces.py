"""Drawn faces with exact points: a landmark task that needs no download, rendered with a seed.

A face is 26 points in space whose distances vary from face to face. It is turned in three directions, seen from a finite distance, and
drawn as polygons through its own points, in colours of its own, under a light that falls off to one side; often something covers part
of it. x points right, y down, z towards the viewer; one unit is about half a face's width.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

SIDE = 64
SIZES = {"train": 800, "val": 200, "test": 1000}
_SEED = 20262
_FINE = 3  # drawn so many times larger, then averaged
_DISTANCE = 5.0  # of the viewer, in units of the face

_RIGHT_HALF = {
    "temple": (0.92, -0.30, -0.35),
    "cheek": (0.86, 0.25, -0.25),
    "jaw": (0.56, 0.78, -0.05),
    "brow_outer": (0.68, -0.46, 0.10),
    "brow_middle": (0.45, -0.57, 0.25),
    "brow_inner": (0.20, -0.50, 0.32),
    "eye_outer": (0.58, -0.24, 0.16),
    "eye_inner": (0.24, -0.22, 0.24),
    "pupil": (0.41, -0.24, 0.28),
    "nostril": (0.17, 0.28, 0.36),
    "mouth": (0.33, 0.58, 0.27),
}
_MIDDLE = {"chin": (0.0, 1.05, 0.10), "nose": (0.0, 0.18, 0.62), "upper_lip": (0.0, 0.50, 0.40), "lower_lip": (0.0, 0.70, 0.38)}
_UNMARKED = {
    "forehead_left": (-0.62, -0.98, -0.15),
    "crown": (0.0, -1.22, -0.10),
    "forehead_right": (0.62, -0.98, -0.15),
    "bridge": (0, -0.2, 0.38),
}

POINT_NAMES = (*(f"left_{name}" for name in _RIGHT_HALF), *(f"right_{name}" for name in _RIGHT_HALF), *_MIDDLE)
"""Left and right as one sees an upright face."""
PAIRS = tuple((i, i + len(_RIGHT_HALF)) for i in range(len(_RIGHT_HALF)))
NORMALIZER = (POINT_NAMES.index("left_eye_outer"), POINT_NAMES.index("right_eye_outer"))
_INDEX = {name: i for i, name in enumerate((*POINT_NAMES, *_UNMARKED))}

Rng = np.random.Generator
Points = Float[np.ndarray, "N P 2"]


def render(split: str, size: int | None = None) -> tuple[UInt8[np.ndarray, "N 64 64 3"], Float[np.ndarray, "N 26 2"]]:
    """Faces of one split, the same at every call.

    Args:
        split: "train", "val" or "test".
        size: how many; the first so many are the same whatever it is. None is `SIZES`.

    Returns:
        Images, and the points in the order of `POINT_NAMES` as fractions of the image.
    """
    whole = SIZES[split]
    rng = np.random.default_rng([_SEED, list(SIZES).index(split)])
    points = _projected(_shapes(rng, whole), rng)
    seeds = rng.integers(2**63, size=whole)
    count = whole if size is None else min(size, whole)
    images = np.stack([_draw(points[i], np.random.default_rng(seeds[i])) for i in range(count)])
    return images, points[:count, : len(POINT_NAMES)].astype(np.float32)


def _shapes(rng: Rng, n: int) -> Float[np.ndarray, "N P 3"]:
    """Faces from the front: the mean face, each part with a size, a place and an expression of its own."""
    right = np.array(list(_RIGHT_HALF.values()))
    left = right * (-1, 1, 1)
    mean = np.concatenate([left, right, list(_MIDDLE.values()), list(_UNMARKED.values())])
    faces = np.repeat(mean[None], n, axis=0)

    def vary(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, n)

    def rows(*parts: str) -> list[int]:
        return [i for name, i in _INDEX.items() if any(part in name for part in parts)]

    def move(parts: tuple[str, ...], axis: int, amount: np.ndarray) -> None:
        faces[:, rows(*parts), axis] += amount[:, None]

    def widen(parts: tuple[str, ...], factor: np.ndarray) -> None:
        faces[:, rows(*parts), 0] *= factor[:, None]

    widen(("jaw",), vary(0.8, 1.2))
    widen(("eye", "pupil", "brow"), vary(0.9, 1.08))
    widen(("mouth",), vary(0.7, 1.35))
    widen(("nostril",), vary(0.8, 1.4))
    move(("brow",), 1, vary(-0.12, 0.06))
    move(("brow_inner",), 1, vary(-0.08, 0.1))
    move(("nose", "nostril"), 1, vary(-0.1, 0.1))
    move(("mouth", "lip"), 1, vary(-0.06, 0.08))
    move(("mouth",), 1, vary(-0.12, 0.1))
    opened = np.maximum(0, vary(-0.15, 0.25))
    move(("lower_lip",), 1, opened)
    move(("chin",), 1, 0.8 * opened + vary(-0.1, 0.12))
    move(("pupil",), 0, vary(-0.08, 0.08))
    faces += rng.normal(0, 0.012, faces.shape)
    return faces * rng.uniform((0.85, 0.92, 1.0), (1.08, 1.1, 1.0), (n, 1, 3))


def _projected(faces: Float[np.ndarray, "N P 3"], rng: Rng) -> Points:
    """Faces turned, seen, and put somewhere into the image; fractions of it."""
    n = len(faces)
    yaw, pitch, roll = (rng.normal(0, spread, n).clip(-1.6 * spread, 1.6 * spread) for spread in (0.38, 0.2, 0.3))
    turned = faces.copy()
    for (first, second), angle in (((0, 2), yaw), ((1, 2), pitch), ((0, 1), roll)):
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = turned[..., first].copy(), turned[..., second].copy()
        turned[..., first], turned[..., second] = cos * a - sin * b, sin * a + cos * b
    flat = turned[..., :2] * (_DISTANCE / (_DISTANCE - turned[..., 2:]))
    size = rng.uniform(0.24, 0.36, (n, 1, 1))
    room = np.maximum(0.02, 0.46 - 1.05 * size)
    return 0.5 + rng.uniform(-1, 1, (n, 1, 2)) * room + flat * size


@dataclass(frozen=True)
class _Look:
    """Colours of one face, each (red, green, blue)."""

    skin: tuple
    hair: tuple
    lips: tuple
    iris: tuple
    white: tuple
    background: tuple

    @classmethod
    def draw(cls, rng: Rng) -> "_Look":
        skin = np.array([225, 180, 150]) * rng.uniform(0.35, 1.08) + rng.normal(0, 12, 3)
        hair = np.array([90, 65, 45]) * rng.uniform(0.2, 2.2) + rng.normal(0, 20, 3)
        lips = skin * (0.85, 0.55, 0.55) + rng.normal(0, 15, 3)
        colours = (skin, hair, lips, rng.uniform(20, 150, 3), rng.uniform(190, 250) + np.zeros(3), rng.uniform(10, 245, 3))
        return cls(*(_colour(colour) for colour in colours))


def _colour(values: np.ndarray) -> tuple:
    return tuple(int(value) for value in np.clip(np.rint(values), 0, 255))


def _draw(points: Float[np.ndarray, "P 2"], rng: Rng) -> UInt8[np.ndarray, "64 64 3"]:
    look, side = _Look.draw(rng), SIDE * _FINE
    image = Image.new("RGB", (side, side), look.background)
    draw = ImageDraw.Draw(image)
    at = {name: points[i] * side for name, i in _INDEX.items()}
    unit = float(np.linalg.norm(at["crown"] - at["chin"])) / 2.2
    _draw_background(draw, rng, side)
    _draw_head(draw, at, look, rng)
    for name in ("left", "right"):
        _draw_eye(draw, at, name, look, unit, rng.uniform(0.06, 0.13))
    _draw_nose_and_mouth(draw, at, look, unit)
    if rng.random() < 0.2:
        _draw_glasses(draw, at, unit, _colour(rng.uniform(0, 120, 3)))
    if rng.random() < 0.35:
        _draw_occlusion(draw, rng, at, unit)
    return _lit(np.asarray(image.reduce(_FINE), dtype=np.float64), rng)


def _draw_background(draw: ImageDraw.ImageDraw, rng: Rng, side: int) -> None:
    for _ in range(rng.integers(2, 7)):
        x, y = rng.uniform(0, side, 2)
        w, h = rng.uniform(0.05, 0.35, 2) * side
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x - w, y - h, x + w, y + h), fill=_colour(rng.uniform(10, 245, 3)))


def _draw_head(draw: ImageDraw.ImageDraw, at: dict[str, np.ndarray], look: _Look, rng: Rng) -> None:
    names = ("left_temple", "left_cheek", "left_jaw", "chin", "right_jaw", "right_cheek", "right_temple")
    outline = np.stack([at[name] for name in (*names, "forehead_right", "crown", "forehead_left")])
    middle = outline.mean(0)
    # Hair is a larger head behind the head, cut off below at a length of its own.
    length = rng.uniform(0, 1)
    behind = middle + (outline - middle) * np.where(np.arange(len(outline)) >= 6, 1.2, 0.7 + 0.5 * length)[:, None]
    _polygon(draw, _smooth(behind), look.hair)
    _polygon(draw, _smooth(outline), look.skin)
    fringe = np.stack([at[name] for name in ("forehead_right", "crown", "forehead_left")])
    inner = middle + (fringe[::-1] - middle) * rng.uniform(0.72, 1.0)
    _polygon(draw, _smooth(np.concatenate([fringe, inner])), look.hair)


def _draw_eye(draw: ImageDraw.ImageDraw, at: dict[str, np.ndarray], which: str, look: _Look, unit: float, opened: float) -> None:
    outer, inner, pupil = (at[f"{which}_{part}"] for part in ("eye_outer", "eye_inner", "pupil"))
    up = (at["crown"] - at["chin"]) / max(1e-6, float(np.linalg.norm(at["crown"] - at["chin"])))
    middle = (outer + inner) / 2
    _polygon(draw, _smooth(np.stack([outer, middle + up * opened * unit, inner, middle - up * opened * unit])), look.white)
    _disc(draw, pupil, 0.085 * unit, look.iris)
    _disc(draw, pupil, 0.04 * unit, (10, 10, 10))
    brow = [tuple(at[f"{which}_{part}"]) for part in ("brow_outer", "brow_middle", "brow_inner")]
    draw.line(brow, fill=look.hair, width=max(2, round(0.09 * unit)), joint="curve")


def _draw_nose_and_mouth(draw: ImageDraw.ImageDraw, at: dict[str, np.ndarray], look: _Look, unit: float) -> None:
    shade = _colour(np.array(look.skin) * 0.68)
    thin = max(1, round(0.04 * unit))
    draw.line([tuple(at[name]) for name in ("bridge", "nose", "left_nostril")], fill=shade, width=thin, joint="curve")
    draw.line([tuple(at[name]) for name in ("nose", "right_nostril")], fill=shade, width=thin)
    for name in ("left_nostril", "right_nostril"):
        _disc(draw, at[name], 0.045 * unit, _colour(np.array(look.skin) * 0.4))
    left, right, upper, lower = (at[name] for name in ("left_mouth", "right_mouth", "upper_lip", "lower_lip"))
    _polygon(draw, _smooth(np.stack([left, upper, right, lower])), look.lips)
    draw.line([tuple(left), tuple((upper + lower) / 2), tuple(right)], fill=_colour(np.array(look.lips) * 0.45), width=thin, joint="curve")


def _draw_glasses(draw: ImageDraw.ImageDraw, at: dict[str, np.ndarray], unit: float, colour: tuple) -> None:
    width = max(2, round(0.05 * unit))
    for which in ("left", "right"):
        x, y = (at[f"{which}_eye_outer"] + at[f"{which}_eye_inner"]) / 2
        draw.ellipse((x - 0.27 * unit, y - 0.22 * unit, x + 0.27 * unit, y + 0.22 * unit), outline=colour, width=width)
    draw.line([tuple(at["left_eye_inner"]), tuple(at["right_eye_inner"])], fill=colour, width=width)


def _draw_occlusion(draw: ImageDraw.ImageDraw, rng: Rng, at: dict[str, np.ndarray], unit: float) -> None:
    """A hand, a scarf, a hat: a blob or a bar over some part of the face."""
    x, y = list(at.values())[rng.integers(len(at))] + rng.normal(0, 0.2, 2) * unit
    long, short = rng.uniform(0.3, 0.9) * unit, rng.uniform(0.15, 0.4) * unit
    angle = rng.uniform(0, np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]) * long, np.array([-np.sin(angle), np.cos(angle)]) * short
    corners = np.array([x, y]) + np.stack([along + across, along - across, -along - across, across - along])
    _polygon(draw, _smooth(corners) if rng.random() < 0.5 else corners, _colour(rng.uniform(10, 245, 3)))


def _lit(image: Float[np.ndarray, "64 64 3"], rng: Rng) -> UInt8[np.ndarray, "64 64 3"]:
    """Under a light from one side, with a colour cast and noise."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.45)
    light = rng.uniform(0.65, 1.15) * (1 + strength * (np.cos(angle) * x + np.sin(angle) * y))
    lit = image * light[..., None] * rng.uniform(0.88, 1.12, 3) + rng.normal(0, rng.uniform(2, 10), image.shape)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def _smooth(corners: Float[np.ndarray, "P 2"], steps: int = 6) -> Float[np.ndarray, "Q 2"]:
    """A closed curve through the corners (Catmull and Rom)."""
    t = (np.arange(steps) / steps)[:, None, None]
    before, start, end, after = (np.roll(corners, shift, 0)[None] for shift in (1, 0, -1, -2))
    curve = start + t / 2 * (end - before + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before)))
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def _polygon(draw: ImageDraw.ImageDraw, corners: np.ndarray, colour: tuple) -> None:
    draw.polygon([(float(x), float(y)) for x, y in corners], fill=colour)


def _disc(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, colour: tuple) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
