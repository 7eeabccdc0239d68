"""A finished run, ready to predict."""

import importlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hubtune.errors import ConfigurationError, DataError, ModelError, RunError
from hubtune.hub import Hub
from hubtune.landmarks.model import LandmarkModel
from hubtune.runs import read_record
from hubtune.tasks.images import decode, squash
from hubtune.training.predictor import Predictor
from hubtune.training.saving import load_weights, read_description

PREDICTORS: dict[str, str] = {
    "single": "hubtune.training.predictor:Single",
    "hub-pathway": "hubtune.pathway.routed_hub:RoutedHub",
    "ensemble": "hubtune.pathway.ensemble:EnsemblePredictor",
    "concat-probe": "hubtune.pathway.concat_probe:ConcatHub",
    "zoo-tuning": "hubtune.pathway.zoo_tuning:ZooNetwork",
}
"""Kind of predictor to ``module:Class``."""

Images = Sequence[Image.Image | str | Path] | np.ndarray | torch.Tensor


@dataclass(frozen=True)
class Prediction:
    """What a model says of B images."""

    labels: list[str]
    """The most probable class of each image."""
    probabilities: np.ndarray
    """(B, C) float32; rows sum to one."""
    path: np.ndarray | None
    """(B, m) weights of the models on each image's path, exact zeros where blocked; None for one model."""
    models: tuple[str, ...] = ()
    """Names of the m models that ``path`` is over."""


class Model:
    """A deployed classifier: images in, labels and probabilities out."""

    def __init__(self, predictor: torch.nn.Module, description: dict[str, Any]):
        self.predictor = predictor
        self.class_names: tuple[str, ...] = tuple(description["task"]["class_names"])
        canvas = description["canvas"]
        self._size = (canvas, canvas) if isinstance(canvas, int) else tuple(canvas)
        self._kind = description["predictor"]["kind"]

    def __repr__(self) -> str:
        classes = ", ".join(self.class_names[:8]) + (", ..." if len(self.class_names) > 8 else "")
        return f"Model({self._kind}, {len(self.class_names)} classes: {classes})"

    @torch.inference_mode()
    def predict(self, images: Images, batch_size: int = 64) -> Prediction:
        """Predict the classes of images.

        Args:
            images: PIL images, paths of image files, or a uint8 array (B, H, W, 3) in RGB.
            batch_size: images a forward pass.

        Raises:
            DataError: an image cannot be read, or the array is of another shape or type.
        """
        probabilities, paths = [], []
        for start in range(0, len(images), batch_size):
            canvas = torch.stack([self._canvas(image) for image in images[start : start + batch_size]])
            probabilities.append(self.predictor(canvas).float().softmax(1))
            paths.append(getattr(self.predictor, "path", None))
        if not probabilities:
            raise DataError("no images were given; expected at least one path, PIL image or row of an array")
        together = torch.cat(probabilities).numpy()
        return Prediction(
            labels=[self.class_names[index] for index in together.argmax(1)],
            probabilities=together,
            path=None if paths[0] is None else torch.cat(paths).numpy(),
            models=getattr(self.predictor, "models", ()),
        )

    def _canvas(self, image: Any) -> torch.Tensor:
        if isinstance(image, torch.Tensor):
            image = image.numpy()
        return torch.tensor(squash(decode(image), self._size)).permute(2, 0, 1)


MODELS = {"classification": Model, "landmarks": LandmarkModel}
"""By kind of task."""


def load(path: str | Path, *, max_resident: int | None = None) -> Model | LandmarkModel:
    """Load the model of a finished run: what it predicts is of its task's kind.

    Args:
        path: the run's folder, or the ``model`` folder in it.
        max_resident: how many of a routed hub's models may be in memory at once, for hubs larger than the memory; each is read from
            the folder when an image's path first needs it. Predictions are the same. None loads all of them.

    Raises:
        RunError: the folder holds no model, or a damaged one.
        ConfigurationError: ``max_resident`` is below 1, or the model is not routed.
    """
    if max_resident is not None and max_resident < 1:
        raise ConfigurationError(f"max_resident = {max_resident} was given; expected 1 or more models in memory, or None for all")
    folder = Path(path)
    if (folder / "model").is_dir():
        folder = folder / "model"
    elif (folder / "record.json").is_file():
        raise _without_model(folder)
    description = read_description(folder)
    model = MODELS[description["task"].get("kind", "classification")]
    return model(_predictor(folder, description, max_resident), description)


def _without_model(folder: Path) -> RunError:
    """The error of a run that keeps no model: what it is, and how to come to one."""
    record = read_record(folder)
    if record.get("kind") != "compare":
        return RunError(f"{folder} is a run of kind {record.get('kind')!r}, which keeps no model; give the folder of a finished tune")
    asked, compared = record["request"], record["comparison"]
    metric = compared["metric"].replace("test_", "val_", 1)
    rows = [row for row in compared["rows"] if not row["analysis"] and metric in row["mean"]]
    if not rows:
        return RunError(f"{folder} is a comparison, which keeps no model, and none of its methods ended well; give the folder of a tune")
    best = max(rows, key=lambda row: row["mean"][metric])
    models = f"--models {','.join(compared['models'])}" if asked["budget"] is None else f"--budget {asked['budget']}"
    command = f"hubtune tune {shlex.quote(asked['data'])} --method {best['method']} {models}"
    return RunError(
        f"{folder} is a comparison, which keeps no model; expected the folder of a tune. Its best method by validation is {best['label']}: "
        f"`{command}`, with the comparison's other options, takes the finished trainings over and hands a model over"
    )


def _predictor(folder: Path, description: dict[str, Any], max_resident: int | None) -> torch.nn.Module:
    spec = description["predictor"]
    if max_resident is not None:
        if spec["kind"] != "hub-pathway":
            raise ConfigurationError(
                f"max_resident was given for a predictor of kind {spec['kind']!r}; expected one of hub-pathway: leave max_resident out"
            )
        from hubtune.pathway.routed_hub import RoutedHub

        return RoutedHub.lazy(spec, folder / "model.safetensors", max_resident)
    if description["format"] == "timm":
        return _Upstream(folder)
    if spec["kind"] not in PREDICTORS:
        raise RunError(f"{folder} holds a predictor of kind {spec['kind']!r}, which this version of HubTune does not know; upgrade it")
    module, _, name = PREDICTORS[spec["kind"]].partition(":")
    cls: type[Predictor] = getattr(importlib.import_module(module), name)
    predictor = cls.from_spec(spec)
    load_weights(predictor, folder)
    return predictor


class _Upstream(torch.nn.Module):
    """A deployed timm network is a model of a hub like any other, whose own head is the task's."""

    def __init__(self, folder: Path):
        super().__init__()
        hub = Hub.open(folder)
        try:
            self.backbone = hub.load(hub.names[0]).eval()
        except ModelError as error:
            raise RunError(f"the model in {folder} cannot be loaded: {error}") from error

    def forward(self, canvas: torch.Tensor) -> torch.Tensor:
        return self.backbone.logits(self.backbone.view(canvas))
