"""One class out of several for each image."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from hubtune.errors import ConfigurationError, DataError, unknown_name
from hubtune.tasks.augmentation import crop, flip
from hubtune.tasks.checks import absent_class_notes
from hubtune.tasks.task import Body, Task

AUGMENTATIONS: dict[str, tuple[Callable[[Tensor, torch.Generator], Tensor], ...]] = {
    "none": (),
    "flip": (flip,),
    "crop": (crop,),
    "crop+flip": (crop, flip),
}
HEAD_STD = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification(Task):
    """Images to classes; outputs are logits (B, num_classes), targets class indices (B,); final."""

    kind: ClassVar[str] = "classification"
    metric: ClassVar[str] = "accuracy"

    class_names: tuple[str, ...]
    augmentation: str = "none"
    """how training images vary: "none" (as in VTAB; where orientation or position is the label nothing else is right), "flip", "crop"
    (up to 64 pixels pad and crop, beyond a random resized crop), "crop+flip" """

    def __post_init__(self):
        if self.augmentation not in AUGMENTATIONS:
            raise unknown_name("augmentation", self.augmentation, AUGMENTATIONS)
        if len(self.class_names) < 2:
            raise DataError(f"given one class only, {self.class_names}; expected at least two: nothing can be learned from one")
        for name, split in self.splits.items():
            wrong = ((split.targets < 0) | (split.targets >= self.num_classes)).nonzero().flatten().tolist()
            if wrong:
                raise DataError(
                    f"labels out of range in {name}: {int(split.targets[wrong[0]])} at {split.ids[wrong[0]]} and {len(wrong) - 1} more; "
                    f"expected 0 to {self.num_classes - 1}, as there are {self.num_classes} class names: correct one of the two"
                )

    @property
    def num_classes(self) -> int:
        """How many classes there are; a split may lack some of them."""
        return len(self.class_names)

    def head(self, backbone: Body) -> nn.Linear:
        """A linear layer with weights N(0, 0.01) and bias 0: near-uniform outputs at first, yet a gradient for the backbone at once.

        Source: Hub-Pathway's protocol; a linear probe that must start from exact zeros zeroes it.
        """
        head = nn.Linear(backbone.feature_dim, self.num_classes)
        nn.init.normal_(head.weight, std=HEAD_STD)
        nn.init.zeros_(head.bias)
        return head

    def loss(self, outputs: Float[Tensor, "B C"], targets: Int64[Tensor, " B"], *, label_smoothing: float = 0.0) -> Float[Tensor, " B"]:
        """Cross entropy of each sample, in nats, against the target's class; smoothed, against (1 - s) onehot + s / C.

        Args:
            outputs: logits.
            targets: class indices.
            label_smoothing: s, the probability mass given to all classes alike, in [0, 1).
        """
        return F.cross_entropy(outputs, targets, reduction="none", label_smoothing=label_smoothing)

    def augment(
        self, canvas: UInt8[Tensor, "B 3 H W"], targets: Int64[Tensor, " B"], generator: torch.Generator
    ) -> tuple[UInt8[Tensor, "B 3 H W"], Int64[Tensor, " B"]]:
        """The variation that ``self.augmentation`` names; classes stay."""
        for vary in AUGMENTATIONS[self.augmentation]:
            canvas = vary(canvas, generator)
        return canvas, targets

    def imitation(self, outputs: Float[Tensor, "B C"], teacher: Float[Tensor, "B C"], *, temperature: float) -> Float[Tensor, " B"]:
        """T^2 KL(softmax(teacher / T) || softmax(outputs / T)) in nats; T^2 keeps the gradient's size when the temperature changes.

        Source: Hinton et al. (2015), Distilling the knowledge in a neural network.
        """
        student, target = (F.log_softmax(logits / temperature, 1) for logits in (outputs, teacher))
        return temperature**2 * F.kl_div(student, target, reduction="none", log_target=True).sum(1)

    @staticmethod
    def combine(outputs: Sequence[Float[Tensor, "B C"]]) -> Float[Tensor, "B C"]:
        """log of the mean over models of softmax(outputs): its softmax is the mean of the models' probabilities."""
        if not outputs:
            raise ConfigurationError("given the outputs of no model; expected those of at least one")
        return torch.logsumexp(torch.stack([F.log_softmax(logits, dim=-1) for logits in outputs]), dim=0) - math.log(len(outputs))

    def metrics(self, answers: Float[Tensor, "N C"], targets: Int64[Tensor, " N"]) -> dict[str, float]:
        """Scores of a split.

        Returns:
            ``accuracy``; ``balanced_accuracy``, the mean recall over the classes that occur in ``targets``; ``macro_f1``, the mean F1
            over the classes that occur in ``targets`` or are predicted; ``loss``, the mean cross entropy in nats.
        """
        from sklearn.metrics import confusion_matrix  # Its import takes as long as torch's.

        if not len(targets):
            raise DataError("given no samples to score; expected at least one")
        true, predicted = targets.cpu().numpy(), answers.argmax(dim=1).cpu().numpy()
        counts = confusion_matrix(true, predicted, labels=np.arange(self.num_classes)).astype(float)
        right, occurring, guessed = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
        present, met = occurring > 0, occurring + guessed > 0
        return {
            "accuracy": float(np.mean(true == predicted)),
            "balanced_accuracy": float(np.mean(right[present] / occurring[present])),
            "macro_f1": float(np.mean(2 * right[met] / (occurring + guessed)[met])),
            "loss": float(self.loss(answers.cpu().double(), targets.cpu()).mean()),
        }

    def take(self, train: int | None = None, val: int | None = None, test: int | None = None) -> "Classification":
        taken = super().take(train, val, test)
        absent = absent_class_notes({name: split.targets for name, split in taken.splits.items()}, self.class_names)
        return replace(taken, notes=(*self.notes, *(note for note in absent if note not in self.notes)))

    def _settings(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "class_names": list(self.class_names), "augmentation": self.augmentation}


def accuracy_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy.

    (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2/4n^2)) / (1 + z^2/n) with p = correct / total, n = total, z = 1.96.
    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.

    Args:
        correct: rightly classified samples.
        total: all samples, at least one.

    Returns:
        Lower and upper end, within 0..1.
    """
    if not 0 <= correct <= total or total < 1:
        raise ConfigurationError(f"given {correct} correct of {total}; expected at least one sample, and no more correct than there are")
    z, p = 1.959963984540054, correct / total
    centre = p + z * z / (2 * total)
    spread = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    # At the ends of the scale rounding must not push an interval's end past the accuracy itself.
    return max(0.0, min(p, (centre - spread) / scale)), min(1.0, max(p, (centre + spread) / scale))
