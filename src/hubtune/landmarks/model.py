"""A deployed model that finds points."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from hubtune.errors import ConfigurationError, DataError
from hubtune.landmarks.geometry import Box, Crop
from hubtune.landmarks.heatmaps import decode
from hubtune.tasks.images import decode as decode_image
from hubtune.tasks.images import squash

Images = Sequence[Image.Image | str | Path] | np.ndarray | torch.Tensor


@dataclass(frozen=True)
class PointPrediction:
    """Where a model finds K points in each of B images."""

    points: np.ndarray
    """(B, K, 2) float32: x and y in pixels of the image, (0, 0) its upper left corner."""
    peaks: np.ndarray
    """(B, K) float32: heights of the heatmaps there; about 1 where the model is sure, near 0 where it sees nothing."""
    path: np.ndarray | None
    """(B, m) weights of the models on each image's path, exact zeros where blocked; None for one model."""
    models: tuple[str, ...] = ()
    """Names of the m models that ``path`` is over."""


class LandmarkModel:
    """Images in, points out."""

    def __init__(self, predictor: nn.Module, description: dict[str, Any]):
        self.predictor = predictor
        task, canvas = description["task"], description["canvas"]
        self.point_names: tuple[str, ...] = tuple(task["point_names"]) or tuple(str(i) for i in range(task["num_points"]))
        self._size = (canvas, canvas) if isinstance(canvas, int) else tuple(canvas)
        self._kind = description["predictor"]["kind"]

    def __repr__(self) -> str:
        points = ", ".join(self.point_names[:8]) + (", ..." if len(self.point_names) > 8 else "")
        return f"LandmarkModel({self._kind}, {len(self.point_names)} points: {points})"

    @torch.inference_mode()
    def predict(self, images: Images, batch_size: int = 64, boxes: Sequence[tuple[float, float, float]] | None = None) -> PointPrediction:
        """Find the points of one face in each image.

        Args:
            images: PIL images, paths of image files, or a uint8 array (B, H, W, 3) in RGB.
            batch_size: images a forward pass.
            boxes: where the face is in each image, with the margin that the model was trained with: left, top and side of a square in
                pixels; None: the smallest square around the whole image.

        Raises:
            DataError: no images, an image that cannot be read, or an array of another shape or type.
            ConfigurationError: other than one box an image, or one without a size.
        """
        if not len(images):
            raise DataError("no images were given; expected at least one path, PIL image or row of an array")
        if boxes is not None and (len(boxes) != len(images) or not all(side > 0 for _, _, side in boxes)):
            raise ConfigurationError(f"given {len(boxes)} boxes for {len(images)} images; expected left, top and side > 0 for each")
        points, peaks, paths = [], [], []
        for start in range(0, len(images), batch_size):
            rows = range(start, min(start + batch_size, len(images)))
            crops = [self._crop(images[row], None if boxes is None else boxes[row]) for row in rows]
            canvas = torch.stack([torch.from_numpy(squash(np.asarray(crop.load()), self._size).copy()).permute(2, 0, 1) for crop in crops])
            heatmaps = self.predictor(canvas).float()
            points += [crop.box.outwards(found) for crop, found in zip(crops, decode(heatmaps), strict=True)]
            peaks.append(heatmaps.flatten(2).amax(2))
            paths.append(getattr(self.predictor, "path", None))
        return PointPrediction(
            points=torch.stack(points).numpy(),
            peaks=torch.cat(peaks).numpy(),
            path=None if paths[0] is None else torch.cat(paths).numpy(),
            models=getattr(self.predictor, "models", ()),
        )

    @staticmethod
    def _crop(image: Any, box: tuple[float, float, float] | None) -> Crop:
        pixels = decode_image(image.numpy() if isinstance(image, torch.Tensor) else image)
        height, width, _ = pixels.shape
        return Crop(pixels, Box(*box) if box is not None else Box.of_image(width, height))
