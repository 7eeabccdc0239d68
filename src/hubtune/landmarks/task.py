"""Where the points of a face lie in its crop."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hubtune.errors import ConfigurationError, DataError, unknown_name
from hubtune.landmarks.geometry import flip, turn
from hubtune.landmarks.heatmaps import decode, encode, within
from hubtune.landmarks.schemes import Pairs
from hubtune.landmarks.scores import normalized_mean_error, normalizing_distance, summarize
from hubtune.nets import DeconvolutionHead
from hubtune.tasks import Split, Task
from hubtune.tasks.task import Body

AUGMENTATIONS = ("none", "flip", "turn", "turn+flip")


@dataclass(frozen=True, kw_only=True, eq=False)
class Landmarks(Task):
    """Crops to points; outputs are heatmaps (B, K, s, s), targets and answers points (B, K, 2) as fractions of the crop; final.

    A target that is NaN is not known: it teaches nothing and does not count.

    Source: Shu et al. (2022), section 4.2, after Sun et al. (2019): bells of height 1 on 64 x 64, mean squared error, rotation by up to
    30 degrees with probability 0.6, scale 0.75 to 1.25, flip.
    Differs from the paper: the loss is in units of a bell's energy, a constant factor; a turned crop is black where it reaches beyond
    the box, rather than showing more of the image.
    """

    kind: ClassVar[str] = "landmarks"
    metric: ClassVar[str] = "closeness"

    pairs: Pairs
    """Points that a mirror exchanges."""
    normalizer: tuple[int, int] | None = None
    """Two points whose distance an error is divided by; None: the longer side of the box around the true points."""
    point_names: tuple[str, ...] = ()
    """One for each point, or none."""
    heatmap_size: int = 64
    """Side of a heatmap in pixels."""
    sigma: float = 1.5
    """Width of a bell in heatmap pixels."""
    head_channels: int = 256
    """Of each transposed convolution in the head."""
    augmentation: str = "turn+flip"
    """How training crops vary: "none", "flip", "turn" (rotation and scale), "turn+flip"."""
    rotation: float = 30.0
    """Largest angle in degrees, to either side."""
    rotation_probability: float = 0.6
    """Of a crop to be rotated at all."""
    scaling: float = 0.25
    """The part of the crop that is looked at has a side of 1 - scaling to 1 + scaling."""
    flip_probability: float = 0.5
    """Of a crop to be mirrored."""

    def __post_init__(self):
        if self.augmentation not in AUGMENTATIONS:
            raise unknown_name("augmentation", self.augmentation, AUGMENTATIONS)
        mistakes = [
            *self._unless(lambda v: isinstance(v, int) and v >= 1, "at least 1", "heatmap_size", "head_channels"),
            *self._unless(lambda v: v > 0, "a number above 0", "sigma"),
            *self._unless(lambda v: 0 <= v <= 180, "degrees from 0 to 180", "rotation"),
            *self._unless(lambda v: 0 <= v < 1, "a share, at least 0 and below 1", "scaling"),
            *self._unless(lambda v: 0 <= v <= 1, "a probability, 0 to 1", "rotation_probability", "flip_probability"),
            *self._wrong_indices(),
        ]
        if mistakes:
            raise ConfigurationError("a landmark task cannot be configured so:\n  " + "\n  ".join(mistakes))
        for name, split in self.splits.items():
            if tuple(split.targets.shape[1:]) != (self.num_points, 2) or not split.targets.is_floating_point():
                raise DataError(f"given targets {tuple(split.targets.shape)} in {name}; expected points (N, {self.num_points}, 2)")
            distances = normalizing_distance(split.targets, self.normalizer)
            wrong = (~(distances > 0)).nonzero().flatten().tolist()
            if wrong:
                raise DataError(
                    f"{name}: the points by which errors are measured lie on each other or are unknown at {split.ids[wrong[0]]} and "
                    f"{len(wrong) - 1} more; expected two different places: correct or remove the rows"
                )

    def _unless(self, fits: Callable[[Any], bool], expected: str, *names: str) -> list[str]:
        """What is wrong with fields that are no number that fits."""
        values = {name: getattr(self, name) for name in names}
        wrong = {name: value for name, value in values.items() if not isinstance(value, int | float) or not fits(value)}
        return [f"{name} = {value!r}: expected {expected}" for name, value in wrong.items()]

    def _wrong_indices(self) -> list[str]:
        used = [index for pair in self.pairs for index in pair]
        found = []
        if len(set(used)) < len(used) or not all(0 <= index < self.num_points for index in used):
            found.append(f"pairs = {self.pairs!r}: expected each point at most once, numbered 0 to {self.num_points - 1}")
        if self.normalizer is not None and not all(0 <= index < self.num_points for index in self.normalizer):
            found.append(f"normalizer = {self.normalizer!r}: expected two points, numbered 0 to {self.num_points - 1}")
        if self.point_names and len(self.point_names) != self.num_points:
            found.append(f"{len(self.point_names)} point_names for {self.num_points} points: expected one each, or none")
        return found

    @property
    def num_points(self) -> int:
        """K."""
        return self.train.targets.shape[1]

    def head(self, backbone: Body) -> DeconvolutionHead:
        """Transposed convolutions on one of the maps, up to ``heatmap_size``."""
        return DeconvolutionHead.on(backbone.map_shapes, outputs=self.num_points, size=self.heatmap_size, channels=self.head_channels)

    def loss(
        self, outputs: Float[Tensor, "B K s s"], targets: Float[Tensor, "B K 2"], *, label_smoothing: float = 0.0
    ) -> Float[Tensor, " B"]:
        """1/K sum_k |h_k - bell_k|^2 / (pi sigma^2): squared error over a bell's energy, so that answering nothing costs 1.

        A point that is unknown, or so far outside the crop that nothing of its bell falls into it, adds zero.

        Args:
            outputs: heatmaps h.
            targets: points, as fractions of the crop.
            label_smoothing: must be 0.
        """
        if label_smoothing:
            raise ConfigurationError(f"label_smoothing = {label_smoothing} was given for points; expected 0, since there are no classes")
        bells = encode(targets.to(outputs.dtype), self.heatmap_size, self.sigma)
        seen = within(targets, self.heatmap_size, self.sigma)
        return self._energy(outputs - bells).mul(seen).mean(1)

    def imitation(self, outputs: Float[Tensor, "B K s s"], teacher: Float[Tensor, "B K s s"], *, temperature: float) -> Float[Tensor, " B"]:
        """1/K sum_k |h_k - teacher_k|^2 / (pi sigma^2); there are no logits, so that the temperature changes nothing."""
        return self._energy(outputs - teacher).mean(1)

    def _energy(self, heatmaps: Float[Tensor, "B K s s"]) -> Float[Tensor, "B K"]:
        return heatmaps.square().sum((-2, -1)) / (math.pi * self.sigma**2)

    def augment(
        self, canvas: UInt8[Tensor, "B 3 H W"], targets: Float[Tensor, "B K 2"], generator: torch.Generator
    ) -> tuple[UInt8[Tensor, "B 3 H W"], Float[Tensor, "B K 2"]]:
        """The variation that ``augmentation`` names, of crops and points alike."""
        chances = torch.rand(4, len(canvas), generator=generator, device=generator.device).to(canvas.device)
        if "turn" in self.augmentation:
            angle = math.radians(self.rotation) * (2 * chances[0] - 1) * (chances[1] < self.rotation_probability)
            canvas, targets = turn(canvas, targets, angle, 1 + self.scaling * (2 * chances[2] - 1))
        if "flip" in self.augmentation:
            mirrored = chances[3] < self.flip_probability
            other_canvas, other_targets = flip(canvas, targets, self.pairs)
            canvas = torch.where(mirrored[:, None, None, None], other_canvas, canvas)
            targets = torch.where(mirrored[:, None, None], other_targets, targets)
        return canvas, targets

    @staticmethod
    def combine(outputs: Sequence[Float[Tensor, "B K s s"]]) -> Float[Tensor, "B K s s"]:
        """The mean of the models' heatmaps."""
        if not outputs:
            raise ConfigurationError("given the outputs of no model; expected those of at least one")
        return torch.stack(list(outputs)).mean(0)

    def answers(self, outputs: Float[Tensor, "B K s s"]) -> Float[Tensor, "B K 2"]:
        """Points, as fractions of the crop."""
        return decode(outputs)

    def errors(self, answers: Float[Tensor, "N K 2"], targets: Float[Tensor, "N K 2"]) -> Float[Tensor, " N"]:
        """The normalised mean error of each image."""
        return normalized_mean_error(answers, targets, self.normalizer)

    def metrics(self, answers: Float[Tensor, "N K 2"], targets: Float[Tensor, "N K 2"]) -> dict[str, float]:
        """Scores of a split: ``closeness`` (1 - NME), ``nme``, ``failure_8``, ``failure_10``, ``auc_10``."""
        return summarize(self.errors(answers.cpu().double(), targets.cpu().double()))

    def labels(self, split: Split) -> Float[Tensor, "N _"]:
        """The coordinates of all points, centred on their means over the training crops; unknown ones are at their mean."""
        mean = self.train.targets.nanmean(0)
        return (split.targets - mean).nan_to_num(nan=0.0).flatten(1)

    def _settings(self) -> dict[str, Any]:
        own = {field.name for field in dataclasses.fields(Landmarks)} - {field.name for field in dataclasses.fields(Task)}
        settings = {name: getattr(self, name) for name in sorted(own)}
        lists = {
            name: [list(pair) for pair in self.pairs] if name == "pairs" else list(value)
            for name, value in settings.items()
            if isinstance(value, tuple)
        }
        return {"num_points": self.num_points, **settings, **lists}
