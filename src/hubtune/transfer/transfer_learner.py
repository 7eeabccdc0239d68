"""Learning from labels and from what frozen sources say about the same images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hubtune.tasks import Task
from hubtune.training.learner import Batch, Learner
from hubtune.training.predictor import Predictor, Single
from hubtune.training.runtime import Runtime
from hubtune.training.schedules import learning_rate_factor
from hubtune.training.supervised import Optimization, make_optimizer
from hubtune.transfer.networks import Observation, Observer, Sources
from hubtune.transfer.source_memory import SourceMemory


class Term(nn.Module, ABC):
    """A loss between the target and its sources; its own parameters are trained beside the target's and are not deployed. Abstract."""

    needs_maps: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = False

    @abstractmethod
    def forward(self, target: Observation, sources: Sequence[Observation]) -> Float[Tensor, " B"]:
        """The weighted loss of each sample."""


class TransferLearner(Learner):
    """Minimise L_org + sum of terms, where L_org is the task's own loss.

    Args:
        predictor: the target.
        terms: by name; a loss of each is reported under its name.
        sources: frozen.
        task: what is to be learnt.
        steps: length of the schedule.
        optimization: how gradients become steps.
        runtime: where the arithmetic is done.
        canvas_size: side in pixels of the batches' images; None is the task's native size.
        label_smoothing: probability mass given to all classes alike.
        summary: what the run's record says about the transfer.
    """

    def __init__(
        self,
        predictor: Single,
        terms: dict[str, Term],
        sources: Sources,
        task: Task,
        *,
        steps: int,
        optimization: Optimization,
        runtime: Runtime,
        canvas_size: int | None = None,
        label_smoothing: float = 0.0,
        summary: dict[str, Any] | None = None,
    ):
        self.steps = steps
        self._observer = Observer(predictor.backbone)
        self._predictor = predictor.to(runtime.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._terms = nn.ModuleDict(terms).to(runtime.device)
        self._network = nn.ModuleList([self._predictor, self._terms]).train()
        self._remembered = SourceMemory(sources, task, canvas_size, steps)
        self._needs_maps = any(term.needs_maps for term in terms.values())
        self._needs_logits = any(term.needs_logits for term in terms.values())
        self._task = task
        self._runtime = runtime
        self._options = optimization
        self._smoothing = {"label_smoothing": label_smoothing} if label_smoothing else {}
        self._optimizer = make_optimizer(self._network, optimization)
        self._chunks = 1
        self._rows = 0
        self._summary = summary or {}

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        rate = self._options.learning_rate * learning_rate_factor(
            self._options.schedule, progress, self._options.warmup, self._options.milestones
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        self._rows = len(batch)
        totals: dict[str, Tensor] = {}
        with batch_statistics(self._network, len(batch)):
            start = 0
            for rows in torch.arange(len(batch)).tensor_split(self._chunks):
                losses = self._losses(batch.rows(start, start + len(rows)))
                start += len(rows)
                parts = {name: loss.float().sum() / len(batch) for name, loss in losses.items()}
                torch.stack(list(parts.values())).sum().backward()
                for name, part in parts.items():
                    totals[name] = totals.get(name, 0) + part.detach()
        self._runtime.average_gradients(self._network.parameters())
        if self._options.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._options.clip_gradient)
        self._optimizer.step()
        return {"loss": torch.stack(list(totals.values())).sum(), **totals, "learning_rate": torch.tensor(rate)}

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """L_org and the terms, (B,) each."""
        seen = self._remembered(batch, maps=self._needs_maps, logits=self._needs_logits)
        backbone = self._predictor.backbone
        with self._runtime.autocast():
            own = self._observer(backbone, backbone.view(batch.canvas), maps=self._needs_maps)
            outputs = self._predictor.head(own.embedding)
            losses = {"task_loss": self._task.loss(outputs, batch.targets, **self._smoothing)}
            return losses | {name: term(own, seen) for name, term in self._terms.items()}

    def halve_chunks(self) -> bool:
        self._chunks *= 2
        return self._rows >= 2 * self._chunks

    def predictor(self) -> Predictor:
        return self._predictor

    def summary(self) -> dict[str, Any]:
        return self._summary

    def state_dict(self) -> dict[str, Any]:
        return {"network": self._network.state_dict(), "optimizer": self._optimizer.state_dict(), "chunks": self._chunks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._chunks = state["chunks"]


class batch_statistics:  # noqa: N801  a context manager, read as a verb
    """Inside, BatchNorm normalises by the running statistics where a batch is one image, which has none of its own to speak of."""

    def __init__(self, network: nn.Module, rows: int):
        self._layers = [] if rows > 1 else [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]

    def __enter__(self) -> None:
        for layer in self._layers:
            layer.eval()

    def __exit__(self, *error: object) -> None:
        for layer in self._layers:
            layer.train()
