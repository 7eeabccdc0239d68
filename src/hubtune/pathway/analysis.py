"""What the models of a hub could do alone: pure functions of which images each fine-tuned model gets right."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.runs import read_record
from hubtune.tasks import Task


@dataclass(frozen=True)
class Rights:
    """Which images of two splits each of m models, trained alone, classifies rightly."""

    names: tuple[str, ...]
    val: Bool[Tensor, "m V"]
    test: Bool[Tensor, "m N"]


@dataclass(frozen=True)
class BestSingle:
    """One model for all images. The model chosen on the test images is an upper bound that nobody can choose by."""

    by_validation: str
    accuracy: float
    """Of that model on the test images."""
    by_test: str
    accuracy_by_test: float


def right(outputs: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
    """Whether the most probable class is the right one."""
    return outputs.argmax(1) == targets


def read_rights(cells: Sequence[Path], task: Task) -> Rights:
    """Read the predictions of finished trainings of one model each.

    Args:
        cells: folders with record.json and predictions.npz.
        task: whose targets the predictions are compared with.

    Raises:
        ConfigurationError: no cells, or predictions of another task.
        RunError: a folder is no finished training.
    """
    if not cells:
        raise ConfigurationError("no trainings were given; expected the folders of at least one")
    names, val, test = [], [], []
    for folder in cells:
        record = read_record(folder)
        if record["task"]["fingerprint"] != task.fingerprint:
            raise ConfigurationError(f"{folder} was trained on the task {record['task']['name']!r}; expected {task.name!r} as it is now")
        with np.load(folder / "predictions.npz") as predictions:
            val.append(right(torch.from_numpy(predictions["val"]), task.val.targets))
            test.append(right(torch.from_numpy(predictions["test"]), task.test.targets))
        names.append("+".join(record["models"]))
    return Rights(tuple(names), torch.stack(val), torch.stack(test))


def best_single(rights: Rights) -> BestSingle:
    """The best model chosen on the validation images, and the one that turned out best.

    Source: Shu et al. (2022), Table 5, "Best Single".
    Differs from the paper: it does not say which images its choice is made on; both are given here.
    """
    val, test = rights.val.double().mean(1), rights.test.double().mean(1)
    chosen, best = int(val.argmax()), int(test.argmax())
    return BestSingle(rights.names[chosen], float(test[chosen]), rights.names[best], float(test[best]))


def oracle(correct: Bool[Tensor, "m N"]) -> float:
    """The accuracy of choosing a right model for each image wherever there is one: mean_n max_i right_in.

    Source: Shu et al. (2022), Table 5, "Oracle".
    """
    return float(correct.any(0).double().mean())


@dataclass(frozen=True)
class WeightQuality:
    """How well a choice of one model does on the images that at least one model gets right."""

    by_weight: float
    """Accuracy of the model with the largest pathway weight."""
    at_random: float
    """Expected accuracy of a model drawn uniformly."""
    images: int
    """How many such images there are."""


def weight_quality(path: Float[Tensor, "N m"], correct: Bool[Tensor, "m N"]) -> WeightQuality:
    """Whether the largest pathway weight finds a model that is right.

    Source: Shu et al. (2022), section 4.4 and Figure 3(b).

    Args:
        path: pathway weights of each test image; blocked models have zero.
        correct: of the individually fine-tuned models, in the same order.

    Raises:
        ConfigurationError: the two do not fit, or no model gets any image right.
    """
    if path.shape != correct.T.shape:
        raise ConfigurationError(f"given weights {tuple(path.shape)} and answers {tuple(correct.shape)}; expected (N, m) and (m, N)")
    solvable = correct.any(0)
    if not solvable.any():
        raise ConfigurationError("no model gets any image right; expected models that were trained")
    chosen = correct.gather(0, path.argmax(1)[None])[0]
    return WeightQuality(float(chosen[solvable].double().mean()), float(correct[:, solvable].double().mean()), int(solvable.sum()))
