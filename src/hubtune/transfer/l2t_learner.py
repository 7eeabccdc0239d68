"""One training of L2T: a step of the target on L_total, then a step of the meta-networks through a few virtual steps."""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from hubtune.errors import ModelError
from hubtune.tasks import Task
from hubtune.training.bilevel import hypergradient
from hubtune.training.double_backward import with_cheap_double_backward
from hubtune.training.evaluation import is_out_of_memory
from hubtune.training.learner import Batch, Learner
from hubtune.training.loop import CHECK_EVERY, Diverged
from hubtune.training.predictor import Predictor, Single
from hubtune.training.runtime import Runtime
from hubtune.training.schedules import learning_rate_factor
from hubtune.training.supervised import Optimization, make_optimizer
from hubtune.transfer.feature_matcher import FeatureMatcher, weighted
from hubtune.transfer.meta_networks import LARGEST_AMOUNT, Amounts, MetaNetworks, Statistics
from hubtune.transfer.networks import Observer, Sources
from hubtune.transfer.pairs import Layer, describe_matching
from hubtune.transfer.saliency import saliency, saliency_pictures
from hubtune.transfer.source_memory import SourceMemory
from hubtune.transfer.transfer_learner import batch_statistics

MODES: dict[str, dict[str, Any]] = {
    "exact": {"mode": "exact", "memory": "store"},
    "recompute": {"mode": "exact", "memory": "recompute"},
    "finite-difference": {"mode": "finite-difference"},
}


@dataclass(frozen=True, kw_only=True)
class MetaOptions:
    """How the meta-networks learn; the fields of the method ``l2t-ww`` say what each means."""

    beta: float
    inner_beta: bool
    inner_steps: int
    adapt: bool
    inner_momentum: bool
    inner_weight_decay: bool
    learning_rate: float
    weight_decay: float
    interval: int
    restore_batch_norm: bool
    hypergradient: Literal["exact", "recompute", "finite-difference"]
    patience: int


class Matched(nn.Module):
    """All that theta is: the target, its head, and r of every pair."""

    def __init__(self, predictor: Single, matcher: FeatureMatcher):
        super().__init__()
        self.predictor = predictor
        self.matcher = matcher
        self._observer = Observer(predictor.backbone)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The target's maps."""
        return self._observer.layers

    def forward(
        self, x: Float[Tensor, "B 3 s s"], resized: dict[str, Float[Tensor, "B _C_n _H_n _W_n"]] | None = None
    ) -> tuple[Tensor, dict[str, Float[Tensor, "B _C_n"]]]:
        """The task's outputs, and the distances to the resized source maps where these are given."""
        seen = self._observer(self.predictor.backbone, x, maps=resized is not None)
        distances = {} if resized is None else self.matcher(seen.maps, resized)
        return self.predictor.head(seen.embedding), distances


class L2TLearner(Learner):
    """Learn the target theta and the meta-networks phi in turns.

    Each step is Algorithm 1 of Jang et al. (2019): theta takes one step on L_total = L_org + beta L_wfm; then, from there and on the same
    batch, T virtual steps on beta L_wfm and one on L_org lead to theta_{T+1}, and phi takes a step of Adam on L_org(theta_{T+1}).
    Theta, its momentum and (with ``restore_batch_norm``) its BatchNorm statistics are after the virtual steps what they were before.

    Args:
        network: the target with everything that is trained beside it.
        meta: f and g.
        sources: frozen.
        task: what is to be learnt.
        steps: length of the schedule.
        optimization: of theta; SGD without Nesterov, since the virtual steps are SGD's.
        meta_options: of phi.
        runtime: where the arithmetic is done. The virtual steps are in float32 whatever its precision. Several processes make the steps
            of the whole batch, each with its share of it (BatchNorm's statistics are each share's own); the record then holds what the
            first one saw.
        canvas_size: side in pixels of the batches' images; None is the task's native size.
        label_smoothing: probability mass given to all classes alike.
    """

    def __init__(
        self,
        network: Matched,
        meta: MetaNetworks,
        sources: Sources,
        task: Task,
        *,
        steps: int,
        optimization: Optimization,
        meta_options: MetaOptions,
        runtime: Runtime,
        canvas_size: int | None = None,
        label_smoothing: float = 0.0,
    ):
        self.steps = steps
        self._network = network.to(runtime.device, memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
        self._virtual = with_cheap_double_backward(copy.deepcopy(self._network).to("meta"))
        self._meta = meta.to(runtime.device).train()
        self._sources = sources
        self._remembered = SourceMemory(sources, task, canvas_size, steps)
        self._task = task
        self._options = optimization
        self._meta_options = meta_options
        self._runtime = runtime
        self._smoothing = {"label_smoothing": label_smoothing} if label_smoothing else {}
        self._optimizer = make_optimizer(self._network, optimization)
        self._meta_optimizer = torch.optim.Adam(meta.parameters(), meta_options.learning_rate, weight_decay=meta_options.weight_decay)
        self._statistics = Statistics(meta).to(runtime.device)
        self._memory = MODES[meta_options.hypergradient]
        self._counts = {"steps": 0, "meta_steps": 0, "skipped": 0, "skipped_in_a_row": 0}
        self._stuck = ""

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        rate = self._options.learning_rate * learning_rate_factor(
            self._options.schedule, progress, self._options.warmup, self._options.milestones
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        number = self._counts["steps"] + 1
        # Without a learning rate (the first step of a warm-up) nothing depends on phi.
        learns = number % self._meta_options.interval == 0 and rate > 0
        x = self._network.predictor.backbone.view(batch.canvas)
        seen = self._remembered(batch)
        resized = self._network.matcher.resize(seen)
        with torch.set_grad_enabled(learns):
            amounts = self._meta(self._meta.pool(seen))
            rows = amounts.rows()
        del seen
        with batch_statistics(self._network, len(batch)), batch_statistics(self._virtual, len(batch)):
            scalars = self._step_target(x, batch.targets, resized, rows)
            if learns:
                scalars["meta_loss"] = self._step_meta(x, batch.targets, resized, rows, rate)
        self._counts["steps"] = number
        self._statistics.add(amounts, progress)
        self._watch(amounts)
        if self._meta.g:
            for pair, amount in zip(self._meta.pairs, torch.cat(list(amounts.pairs.values()), 1).detach().mean(0), strict=True):
                scalars[f"lambda {pair.name}"] = amount
        return scalars | {"learning_rate": torch.tensor(rate)}

    def _step_target(self, x: Tensor, targets: Tensor, resized: dict[str, Tensor], rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step on L_total. Phi gets no gradient from it: the weights are constants here."""
        self._optimizer.zero_grad(set_to_none=True)
        with self._runtime.autocast():
            outputs, distances = self._network(x, resized)
            task_loss = self._task.loss(outputs, targets, **self._smoothing).float().sum() / len(x)
        transfer_loss = weighted({n: row.detach() for n, row in rows.items()}, distances).sum() / len(x)
        loss = task_loss + self._meta_options.beta * transfer_loss
        loss.backward()
        self._runtime.average_gradients(self._network.parameters())
        if self._options.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._options.clip_gradient)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {"loss": loss.detach(), "task_loss": task_loss.detach(), "transfer_loss": transfer_loss.detach()}

    def _step_meta(self, x: Tensor, targets: Tensor, resized: dict[str, Tensor], rows: dict[str, Tensor], rate: float) -> Tensor:
        """One step of phi; returns L_org(theta_{T+1}). A gradient that is not a number is skipped and counted.

        Raises:
            Diverged: too many were skipped, one after another.
        """
        self._meta_optimizer.zero_grad(set_to_none=True)
        gradients, outer = self._meta_gradient_in_memory(x, targets, resized, {n: row.detach() for n, row in rows.items()}, rate)
        torch.autograd.backward(list(rows.values()), [gradients[n] for n in rows])
        self._runtime.average_gradients(self._meta.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in self._meta.parameters() if p.grad is not None])
        if bool(torch.isfinite(norm)):
            self._meta_optimizer.step()
            self._counts["meta_steps"] += 1
            self._counts["skipped_in_a_row"] = 0
        else:
            self._counts["skipped"] += 1
            self._counts["skipped_in_a_row"] += 1
            if self._counts["skipped_in_a_row"] >= self._meta_options.patience:
                raise Diverged(
                    f"the gradient of the meta-networks was not a number {self._meta_options.patience} times in a row (step "
                    f"{self._counts['steps'] + 1} of {self.steps}); choose a smaller learning rate or beta, or fewer inner_steps"
                )
        self._meta_optimizer.zero_grad(set_to_none=True)
        return outer

    def _meta_gradient_in_memory(self, *arguments: Any) -> tuple[dict[str, Tensor], Tensor]:
        """The meta-gradient, with fewer graphs kept once memory has run out. The target's step is done and must not be repeated."""
        while True:
            try:
                return self.meta_gradient(*arguments)
            except RuntimeError as error:
                # One of several processes cannot begin again alone: the others wait in the middle of theirs.
                if not (is_out_of_memory(error) and self._runtime.processes == 1 and self.halve_chunks()):
                    raise

    def meta_gradient(
        self, x: Tensor, targets: Tensor, resized: dict[str, Tensor], rows: dict[str, Tensor], rate: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The gradient of L_org(theta_{T+1}) by lambda w of every row, and that loss; theta stays as it is.

        Args:
            x: the target's view of the batch.
            targets: of the task's loss.
            resized: source maps of each row.
            rows: lambda w of each row.
            rate: alpha of the virtual steps.
        """
        options = self._meta_options
        params = dict(self._network.named_parameters())
        buffers = {name: value.clone() for name, value in self._network.named_buffers()}
        inner_beta = options.beta if options.inner_beta else 1.0
        moves = not options.restore_batch_norm

        def task_loss(theta: dict[str, Tensor]) -> Tensor:
            outputs, _ = functional_call(self._virtual, {**theta, **buffers}, (x,))
            return self._task.loss(outputs, targets, **self._smoothing).mean()

        def inner_loss(theta: dict[str, Tensor], weights: dict[str, Tensor]) -> Tensor:
            nonlocal moves
            outputs, distances = functional_call(self._virtual, {**theta, **buffers}, (x, resized))
            if moves:  # the first pass alone: how many follow depends on the mode
                for name, value in self._network.named_buffers():
                    value.copy_(buffers[name])
                moves = False
            matching = inner_beta * weighted(weights, distances).mean()
            return matching if options.adapt else matching + self._task.loss(outputs, targets, **self._smoothing).mean()

        try:
            # Fused attention has no second derivative.
            with sdpa_kernel(SDPBackend.MATH):
                return hypergradient(
                    inner_loss,
                    task_loss if options.adapt else None,
                    task_loss,
                    params,
                    rows,
                    steps=options.inner_steps,
                    learning_rate=rate,
                    momentum=self._options.momentum if options.inner_momentum else 0.0,
                    weight_decay=self._options.weight_decay if options.inner_weight_decay else 0.0,
                    momentum_buffers={name: self._optimizer.state[p].get("momentum_buffer") for name, p in params.items()},
                    average=self._average if self._runtime.processes > 1 else None,
                    **self._memory,
                )
        except RuntimeError as error:
            if "is not implemented" not in str(error):
                raise
            raise ModelError(
                f"the target {self._network.predictor.backbone.card.name} cannot be differentiated twice ({str(error)[:120]}); "
                "choose another target, or hypergradient='finite-difference', which needs first derivatives only"
            ) from error

    def _average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Their means over the processes, asked for all at once: each question waits for the slowest."""
        mean = self._runtime.mean(torch.cat([x.flatten() for x in tensors]))
        return [part.view_as(x) for part, x in zip(mean.split([x.numel() for x in tensors]), tensors, strict=True)]

    def _watch(self, amounts: Amounts) -> None:
        """Say once when ReLU6 passes no gradient to any pair. Some pairs at 0 are a choice; all at one end or the other are not."""
        if self._stuck or self._counts["steps"] % CHECK_EVERY or not self._meta.g:
            return
        pairs = torch.cat(list(amounts.pairs.values()), 1)
        dead, saturated = int((pairs <= 0).all(0).sum()), int((pairs >= LARGEST_AMOUNT).all(0).sum())
        if dead + saturated == pairs.shape[1]:
            self._stuck = (
                f"for every image lambda is 0 for {dead} and {LARGEST_AMOUNT:g} for {saturated} of {pairs.shape[1]} pairs: ReLU6 passes no "
                f"gradient there, so g learns nothing more; {'raise' if dead >= saturated else 'lower'} lambda_bias, or choose a smaller "
                "meta_learning_rate"
            )
            warnings.warn(self._stuck, stacklevel=2)

    def halve_chunks(self) -> bool:
        """Keep fewer graphs; BatchNorm and the virtual steps want the batch whole."""
        smaller = self._memory == MODES["exact"]
        self._memory = MODES["recompute"] if smaller else self._memory
        return smaller

    def predictor(self) -> Predictor:
        return self._network.predictor

    def summary(self) -> dict[str, Any]:
        """What was transferred, and where."""
        target = (self._network.predictor.backbone.card.name, self._network.layers)
        matching = describe_matching(self._meta.pairs, self._sources.layers, target)
        matching["progress"], rows = self._statistics.summary()
        for pair, row in zip(matching["pairs"], rows, strict=True):
            pair.update(row)
        matching["where"] = bool(self._meta.g)
        return {"matching": matching, **{name: self._counts[name] for name in ("meta_steps", "skipped")}, "warnings": self._warnings()}

    def _warnings(self) -> list[str]:
        found = [self._stuck] if self._stuck else []
        if self._counts["skipped"]:
            found.append(
                f"{self._counts['skipped']} gradients of the meta-networks were no numbers and were skipped; "
                "choose a smaller learning rate or beta"
            )
        if self._counts["steps"] and not self._counts["meta_steps"]:
            found.append(
                f"the meta-networks never learnt: {self._counts['steps']} steps of the target with meta_interval = "
                f"{self._meta_options.interval} and {self._counts['skipped']} skipped; train longer, or choose a smaller meta_interval"
            )
        return found

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Where the learnt weights make a difference: Figure 6 of the paper."""
        self._network.eval()
        target = self._network.predictor.backbone
        maps = saliency(target, self._network.matcher, self._meta, self._sources, batch.canvas)
        self._network.train()
        return saliency_pictures(batch.canvas, *maps)

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self._network,
            "optimizer": self._optimizer,
            "meta": self._meta,
            "meta_optimizer": self._meta_optimizer,
            "statistics": self._statistics,
        }

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "counts": dict(self._counts),
            "memory": dict(self._memory),
            "stuck": self._stuck,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self._counts = dict(state["counts"])
        self._memory = dict(state["memory"])
        self._stuck = state["stuck"]
