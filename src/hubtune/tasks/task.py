"""A task: labelled images in three splits, and everything that depends on what an output is."""

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hubtune.errors import ConfigurationError
from hubtune.tasks.split import Split

AnyTask = TypeVar("AnyTask", bound="Task")


class Body(Protocol):
    """What a head is put on: a network without one."""

    feature_dim: int
    """Length of its embedding."""

    @property
    def map_shapes(self) -> list[tuple[int, int, int]]:
        """Channels, height and width of its maps, shallow to deep."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Task(ABC):
    """What is to be solved.

    A task is immutable. Training code asks it for a head, a loss, an augmentation, a way to combine the outputs of several models
    and metrics, and never looks at what an output or a target means. A subclass is final and makes an output of its own kind.
    """

    kind: ClassVar[str]
    """what outputs are, such as "classification" """
    metric: ClassVar[str]
    """the main entry of metrics(); higher is better"""

    name: str
    train: Split
    val: Split
    test: Split
    notes: tuple[str, ...] = ()
    """what the user should know about the data: images left out, duplicates, leaks, classes that a split lacks"""
    source: dict[str, Any] = field(default_factory=dict)
    """arguments of Task.open that open it again, as JSON; empty for a task made in memory"""

    @staticmethod
    def open(spec: str | Path, **options: Any) -> "Task":
        """Open labelled images.

        Args:
            spec: a folder of images, a folder of parquet files, a .parquet or .npz file; or a source's name, a colon and what to open
                there, such as "demo:digits", "torchvision:CIFAR10", "hf:ORG/NAME"; or "my.module:name", something of your own that
                returns a Task when called with the options.
            options: ``name`` (default: the source's), ``seed`` (of the cuts below), ``val_fraction`` (of the training rows, where the
                source has no validation split), ``test_fraction`` (where it has no test split), ``skip_limit`` (the fraction of
                images that may be unreadable and left out), ``augmentation`` ("none", "flip", "crop", "crop+flip"), ``take`` (a mapping
                of split names to how many rows to keep), and the source's own: its ``read`` function documents them.

        Raises:
            DataError: the data are missing or cannot be used.
            ConfigurationError: an option has an impossible value, or the source does not know it.
            UnknownNameError: no source has this name.
            MissingExtraError: the source needs a package that is not installed.
        """
        from hubtune.tasks.opening import open_task  # It makes tasks, hence comes after them.

        return open_task(spec, **options)

    @abstractmethod
    def head(self, backbone: Body) -> nn.Module:
        """A fresh trainable module from a network's features to outputs (B, ...), initialised from torch's global generator.

        A linear layer reads the embedding (B, feature_dim), a `hubtune.nets.DeconvolutionHead` the maps.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Float[Tensor, " B"]:
        """The training loss of each sample; differentiable in ``outputs``; no reduction, so that callers can weigh samples.

        Args:
            label_smoothing: probability mass given to all classes alike, in [0, 1); kinds of task without classes refuse it.
        """

    @abstractmethod
    def augment(
        self, canvas: UInt8[Tensor, "B 3 H W"], targets: Tensor, generator: torch.Generator
    ) -> tuple[UInt8[Tensor, "B 3 H W"], Tensor]:
        """A random variation of a training batch, of the same size, together with its targets.

        The result depends on the arguments and the generator's state alone, and each sample only on itself and the generator.
        """

    @abstractmethod
    def imitation(self, outputs: Tensor, teacher: Tensor, *, temperature: float) -> Float[Tensor, " B"]:
        """How far each sample's output is from a teacher's, as a training loss; zero where they agree.

        Args:
            outputs: of the student.
            teacher: its outputs, without gradients.
            temperature: > 0, by which logits are divided; kinds of task without logits ignore it.
        """

    @staticmethod
    @abstractmethod
    def combine(outputs: Sequence[Tensor]) -> Tensor:
        """One output from those of several models; the order of the models must not matter, and one model's output is its own."""

    def answers(self, outputs: Tensor) -> Tensor:
        """What is scored and kept of outputs (B, ...), batch by batch: by default the outputs themselves."""
        return outputs

    @abstractmethod
    def metrics(self, answers: Tensor, targets: Tensor) -> dict[str, float]:
        """Named scores of a whole split; ``self.metric`` is one of them."""

    def labels(self, split: Split) -> Tensor:
        """What a linear model of the features would predict: class indices (N,) int64 or numbers (N, K); by default the targets."""
        return split.targets

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @cached_property
    def native_size(self) -> tuple[int, int] | None:
        """Height and width in pixels that all images of the task share, or None."""
        sizes = {split.native_size for split in self.splits.values()}
        return sizes.pop() if len(sizes) == 1 else None

    def canvas_size(self, input_sizes: Sequence[int]) -> int | None:
        """The size to ask of Split.canvas for models that want these input sizes.

        Args:
            input_sizes: side in pixels of each model's input.

        Returns:
            None (native pixels) where all images share one size no larger than the largest input, else the largest input's side:
            pixels are neither invented before augmentation nor thrown away before the model that can use them.
        """
        if not input_sizes:
            raise ConfigurationError("given no input sizes; expected that of at least one model")
        largest = max(input_sizes)
        return None if self.native_size is not None and max(self.native_size) <= largest else largest

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all that can change a trained model: images, targets, their order, and the task's own settings."""
        content = {"kind": self.kind, **self._settings(), **{name: split.describe() for name, split in self.splits.items()}}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _settings(self) -> dict[str, Any]:
        """Settings of the subclass that change a trained model, as JSON."""
        return {}

    def take(self: AnyTask, train: int | None = None, val: int | None = None, test: int | None = None) -> AnyTask:
        """The task with the first rows only of some of its splits.

        Rows come in the order of the source. Where the source has none (a folder of images) every beginning of a split holds the
        classes in their proportions; a parquet file sorted by class does not, and a note then names the classes that are missing.

        Args:
            train, val, test: how many rows to keep; None keeps all, and so does a number larger than there are.
        """
        wanted = {"train": train, "val": val, "test": test}
        wrong = {name: n for name, n in wanted.items() if n is not None and not (isinstance(n, Integral) and n >= 1)}
        if wrong:
            raise ConfigurationError(f"given {wrong}; expected at least 1 row of each split (a whole number), or None for all")
        taken = {name: self.splits[name].take(n) for name, n in wanted.items() if n is not None}
        sizes = {**self.source.get("take", {}), **{name: len(split) for name, split in taken.items()}}
        return dataclasses.replace(self, **taken, source={**self.source, "take": sizes} if self.source and taken else self.source)

    def describe(self) -> dict[str, Any]:
        """What a record keeps of the task, as JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "metric": self.metric,
            **self._settings(),
            "sizes": {name: len(split) for name, split in self.splits.items()},
            "native_size": list(self.native_size) if self.native_size else None,
            "fingerprint": self.fingerprint,
            "notes": list(self.notes),
            "source": self.source,
        }
