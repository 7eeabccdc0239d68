"""A predictor as a folder: safetensors and JSON, no pickle."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hubtune.errors import ModelError, RunError
from hubtune.hub import Hub, export_timm
from hubtune.hub.timm_backbone import TimmBackbone
from hubtune.runs import plain
from hubtune.tasks import Task
from hubtune.training.predictor import Predictor, Single

CONFIG = "hubtune.json"


def save_predictor(predictor: Predictor, folder: Path, task: Task, canvas_size: int | None) -> None:
    """Write what is deployed.

    One timm network with a linear head becomes a folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads
    too; anything else is ``model.safetensors`` beside the description that rebuilds it.

    Args:
        canvas_size: side in pixels of the images that the predictor was trained on; None is the task's native size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    predictor = predictor.cpu().to(memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]
    size = list(task.native_size) if canvas_size is None and task.native_size else canvas_size
    description: dict[str, Any] = {"predictor": predictor.spec(), "canvas": size, "task": task.describe(), "format": "hubtune"}
    if isinstance(predictor, Single) and isinstance(predictor.backbone, TimmBackbone) and isinstance(predictor.head, nn.Linear):
        export_timm(predictor.backbone, predictor.head, folder, tuple(task.describe()["class_names"]))
        description["format"] = "timm"
    else:
        weights = {name: value.detach().clone().contiguous() for name, value in predictor.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(plain(description), indent=1, ensure_ascii=False), encoding="utf-8")
    # Weights are written for their owner alone; a deployed model is for whoever may read its folder.
    for path in folder.iterdir():
        path.chmod(0o644)


def save_pictures(pictures: Mapping[str, UInt8[Tensor, "3 H W"]], folder: Path) -> None:
    """Write ``folder/NAME.png`` for each picture; no folder where there are none."""
    for name, picture in pictures.items():
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()).save(folder / f"{name}.png")


def read_description(folder: Path) -> dict[str, Any]:
    """The description that ``save_predictor`` wrote.

    Raises:
        RunError: the folder holds no model of HubTune's.
    """
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} holds no model that HubTune can load ({error}); give the folder of a finished run") from error


def load_single(folder: Path) -> Single:
    """The one backbone and one head that ``save_predictor`` wrote, ready to be trained on.

    Raises:
        RunError: the folder holds another kind of predictor, or a damaged one.
    """
    description = read_description(folder)
    spec = description["predictor"]
    if spec["kind"] != Single.kind:
        raise RunError(f"{folder} holds a predictor of kind {spec['kind']!r}; expected one model with one head, such as fine-tune leaves")
    if description["format"] != "timm":
        single = Single.from_spec(spec)
        load_weights(single, folder)
        return single
    hub = Hub.open(folder)
    try:
        backbone = hub.load(hub.names[0])
    except ModelError as error:
        raise RunError(f"the model in {folder} cannot be loaded: {error}") from error
    head = backbone.upstream_head
    assert head is not None
    return Single(backbone, copy.deepcopy(head).requires_grad_(True)).eval()


def load_weights(predictor: nn.Module, folder: Path) -> None:
    """Load ``model.safetensors`` into a predictor rebuilt from its description.

    Raises:
        RunError: the file is damaged or belongs to another architecture.
    """
    try:
        predictor.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:
        raise RunError(f"the weights in {folder} cannot be loaded ({error}); run the command that made them again") from error
    predictor.eval()
