"""Points on images, for people to look at; and what a record says of the errors."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from hubtune.landmarks.task import Landmarks

FOUND, TRUE = (255, 159, 28), (0, 229, 255)
LEAST_SIDE = 192
"""Of a picture; smaller images are enlarged, with their pixels visible."""
SHOWN = 12
CURVE_STEPS = 60
CURVE_LIMITS = (0.1, 1.0)
"""Between them lies where the error curve ends: where 95 % of the images are below."""


def draw(image: Image.Image, points: Float[np.ndarray, "K 2"], true: Float[np.ndarray, "K 2"] | None = None) -> Image.Image:
    """The image with points as discs, and the true ones as rings, joined where they differ.

    Args:
        points: in pixels of the image; those that are NaN are left out.
        true: likewise; None where they are not known.
    """
    factor = -(-LEAST_SIDE // min(image.size)) if min(image.size) < LEAST_SIDE else 1
    picture = image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    canvas, radius = ImageDraw.Draw(picture), max(2.0, min(picture.size) / 90)
    for row, found in enumerate(points * factor):
        known = true is not None and np.isfinite(true[row]).all()
        if known:
            at = true[row] * factor  # pyright: ignore[reportOptionalSubscript]
            if np.isfinite(found).all():
                canvas.line([tuple(at), tuple(found)], fill=TRUE, width=max(1, round(radius / 2)))
            canvas.ellipse(_around(at, 1.3 * radius), outline=TRUE, width=max(1, round(radius / 2)))
        if np.isfinite(found).all():
            canvas.ellipse(_around(found, radius), fill=FOUND, outline=(0, 0, 0))
    return picture


def _around(point: np.ndarray, radius: float) -> tuple[float, float, float, float]:
    return point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius


def describe(task: Landmarks, answers: Float[Tensor, "N K 2"], folder: Path) -> dict[str, Any]:
    """What a record keeps of the test images' points: the error curve, and images from the best to the worst, written to ``folder/points``.

    The curve is the share of images with an error up to e; the images are evenly spaced among all, sorted by their errors.
    """
    errors = task.errors(answers.double(), task.test.targets.double())
    low, high = CURVE_LIMITS
    limit = float(errors.nan_to_num(nan=high).quantile(0.95).clamp(low, high))
    thresholds = torch.linspace(0, limit, CURVE_STEPS + 1, dtype=errors.dtype)
    share = (errors[None] <= thresholds[:, None]).double().mean(1)
    order = errors.argsort(stable=True)
    chosen = order[torch.linspace(0, len(order) - 1, min(SHOWN, len(order))).long()].tolist()
    (folder / "points").mkdir()
    samples = []
    for number, row in enumerate(chosen):
        name = f"points/{number:02d}.png"
        size = None if task.native_size and max(task.native_size) <= LEAST_SIDE else LEAST_SIDE
        image = Image.fromarray(task.test.canvas([row], size)[0].permute(1, 2, 0).numpy())
        side = np.array(image.size)
        draw(image, answers[row].numpy() * side, task.test.targets[row].numpy() * side).save(folder / name)
        samples.append({"image": name, "id": task.test.ids[row], "error": float(errors[row])})
    return {"thresholds": thresholds.tolist(), "share": share.tolist(), "samples": samples}
