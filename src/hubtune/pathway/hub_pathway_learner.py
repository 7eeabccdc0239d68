"""Training generator, models and aggregator together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hubtune.pathway.batch_norm import reestimate, sample_of
from hubtune.pathway.generator import PathwayGenerator
from hubtune.pathway.objectives import cost_loss, exploitation_loss, exploration_loss
from hubtune.pathway.routed_hub import Routed, RoutedHub
from hubtune.pathway.routing import top_k
from hubtune.tasks import Task
from hubtune.training.evaluation import evaluate
from hubtune.training.learner import Batch, Learner
from hubtune.training.loop import CHECK_EVERY, Diverged
from hubtune.training.method import Setting
from hubtune.training.predictor import keep_statistics
from hubtune.training.schedules import learning_rate_factor
from hubtune.training.supervised import Optimization, make_optimizer

GENERATOR_RATE = 1e-3
"""Of AdamW, for a small network that starts at random."""
HARDLY = 20.0
"""Nats by which a first score lies below the best one at most: with exp(-20) of its weight a model is out of the way, but not for good."""
COLLAPSE = 0.95
"""Share of the weight from which on one model is said to have taken over."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The terms of Equation 6 beside L_task."""

    explore: float
    """lambda."""
    exploit: bool
    cost: float = 0.0
    """Weight of the route's expected cost."""
    label_smoothing: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How training starts where nothing is known of the models: each is trained alone, and first paths follow what it came to."""

    steps: int
    """The first ones of the training, in which every model sees every image and no path is learnt."""
    prior: float
    """The paths then start from softmax(-prior e / min e), with e the models' errors on the validation split, 1 less the task's metric."""


@final
class HubPathwayLearner(Learner):
    """Minimise L_task + lambda L_explore + L_exploit; one backward pass gives every part the gradient that Equation 6 asks for.

    L_explore depends on the generator alone, L_exploit on the activated models and their heads alone, so that the sum has the gradient
    of L_task + lambda L_explore for G, that of L_task for A, and that of L_task + L_exploit for the models. L_cost, where it has a
    weight, is the generator's alone as well. The generator runs once a
    step; the models may work through the batch in chunks, whose gradients meet at the generator's weights before they go on into it.
    Gradients are set to None between steps: momentum and weight decay do not move a model that no image chose.

    Source: Shu et al. (2022), Equations 2 to 6.
    Differs from the paper: under several processes each takes L_explore over its share of the batch.
    """

    def __init__(
        self,
        predictor: RoutedHub,
        task: Task,
        *,
        steps: int,
        optimization: Optimization,
        loss: Loss,
        setting: Setting,
        costs: Sequence[float] | None = None,
        generator_rate: float | None = None,
        frozen_batch_norm: bool = False,
        reestimate_batch_norm: bool = False,
        trial: Trial | None = None,
    ):
        """
        Args:
            predictor: trained in place.
            costs: of each model for one image; needed where the loss has a weight for them.
            generator_rate: the generator's first learning rate; None: 0.001 with AdamW, that of models and aggregator with SGD.
            frozen_batch_norm: the models keep their pre-trained statistics; those of heads and generator are estimated in any case.
            reestimate_batch_norm: estimate all statistics anew after the last step.
            trial: what comes before the paths; None: they are learnt from the first step on.
        """
        self.steps = steps
        self._task = task
        self._loss = loss
        self._setting = setting
        self._runtime = setting.runtime
        self._options = optimization
        self._frozen = frozen_batch_norm
        self._reestimate = reestimate_batch_norm
        self._trial = trial or Trial(steps=0, prior=0.0)
        self._hub: RoutedHub = predictor.to(self._runtime.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if generator_rate is None:
            generator_rate = GENERATOR_RATE if optimization.optimizer == "adamw" else optimization.learning_rate
        rest = [*self._hub.members.parameters(), *self._hub.aggregator.parameters()]
        groups = [{"params": rest}, {"params": list(self._hub.generator.parameters()), "lr": generator_rate}]
        self._optimizer = make_optimizer(self._hub, optimization, [group for group in groups if group["params"]])
        self._first_rates = [group["lr"] for group in self._optimizer.param_groups]
        self._usable = [i for i, blocked in enumerate(self._hub.generator.blocked.tolist()) if not blocked]
        self._names = [str(member.backbone.card.name) for member in self._hub.members]  # pyright: ignore[reportAttributeAccessIssue]
        self._costs = torch.ones(len(self._names)) if costs is None else torch.tensor(costs, dtype=torch.float32)
        self._costs = self._costs.to(self._runtime.device)
        self._chunks = 1
        self._failed = torch.zeros(len(self._hub.members), dtype=torch.bool, device=self._runtime.device)
        self._shares: dict[str, list[float]] = {}

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        done = round(progress * self.steps)
        factor = learning_rate_factor(self._options.schedule, progress, self._options.warmup, self._options.milestones)
        for group, rate in zip(self._optimizer.param_groups, self._first_rates, strict=True):
            group["lr"] = rate * factor
        if 0 < done == self._trial.steps:
            self._prefer_by_trial()
        self._optimizer.zero_grad(set_to_none=True)
        self._train_mode()
        scalars = self._backward_alone(batch) if done < self._trial.steps else self._backward_routed(batch)
        if self._options.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self._hub.parameters(), self._options.clip_gradient)
        self._optimizer.step()
        if (done + 1) % CHECK_EVERY == 0:
            self._name_the_failed()
        return scalars | {"learning_rate": torch.tensor(factor * self._options.learning_rate)}

    def _backward_alone(self, batch: Batch) -> dict[str, Tensor]:
        """Gradients of every usable model's own loss; their mean."""
        total = torch.zeros((), device=batch.canvas.device)
        size = -(-len(batch) // self._chunks)
        for i in self._usable:
            for start in range(0, len(batch), size):
                rows = batch.rows(start, start + size)
                with self._runtime.autocast():
                    outputs = self._hub.members[i](rows.canvas)
                loss = len(rows) / len(batch) * self._task_loss(outputs, rows.targets).mean()
                self._failed[i] |= ~torch.isfinite(loss.detach()) & ~self._failed.any()
                loss.backward()
                total += loss.detach() / len(self._usable)
        self._runtime.average_gradients(parameter for i in self._usable for parameter in self._hub.members[i].parameters())
        return {"loss": total}

    def _prefer_by_trial(self) -> None:
        """Let the paths start from the models' errors on the validation split, now that each has been trained alone."""
        assert isinstance(self._hub.generator, PathwayGenerator)
        errors = torch.full((len(self._hub.members),), torch.inf)
        for i in self._usable:
            errors[i] = self._runtime.on_main(lambda member=self._hub.members[i]: self._error(member))
        self._hub.generator.prefer(first_scores(errors, self._trial.prior, 1 / len(self._task.val)))

    def _error(self, member: nn.Module) -> float:
        metrics = evaluate(member, self._task, self._task.val, self._setting.canvas_size, self._runtime)[1]
        return 1.0 - metrics[self._task.metric]

    def _backward_routed(self, batch: Batch) -> dict[str, Tensor]:
        """Gradients of Equation 6 along the paths of this moment; its terms."""
        with self._runtime.autocast():
            weights = self._hub.generator(batch.canvas)
        leaf = weights.detach().requires_grad_()
        scalars = self._backward_chunks(batch, leaf)
        explore = exploration_loss(leaf)
        cost = cost_loss(leaf, self._costs)
        if self._loss.explore or self._loss.cost:
            (self._loss.explore * explore + self._loss.cost * cost).backward()
        if weights.requires_grad:
            weights.backward(leaf.grad)
        self._average_gradients(leaf)
        total = scalars["task"] + self._loss.explore * explore.detach() + self._loss.cost * cost.detach() + scalars.get("exploit", 0.0)
        share = leaf.detach().mean(0).max()
        return {"loss": total, **scalars, "explore": explore.detach(), "cost": cost.detach(), "largest_share": share}

    def _backward_chunks(self, batch: Batch, weights: Float[Tensor, "B m"]) -> dict[str, Tensor]:
        """Gradients of L_task and L_exploit, accumulated over chunks of the batch; their values."""
        totals = {"task": torch.zeros((), device=weights.device)}
        if self._loss.exploit:
            totals["exploit"] = torch.zeros((), device=weights.device)
        size = -(-len(batch) // self._chunks)
        for start in range(0, len(batch), size):
            rows = batch.rows(start, start + size)
            share = len(rows) / len(batch)
            with self._runtime.autocast():
                routed = self._hub.routed(rows.canvas, weights[start : start + size])
            terms = {"task": share * self._task_loss(routed.outputs, rows.targets).mean()}
            if self._loss.exploit:
                k = self._hub.top_k
                own = self._task_loss(routed.own.flatten(0, 1), rows.targets.repeat_interleave(k, dim=0))
                terms["exploit"] = share * exploitation_loss(own.unflatten(0, (-1, k)))
            self._note_failures(routed)
            torch.stack(list(terms.values())).sum().backward()
            for name, value in terms.items():
                totals[name] += value.detach()
        return totals

    def _task_loss(self, outputs: Tensor, targets: Tensor) -> Float[Tensor, " B"]:
        if self._loss.label_smoothing:
            return self._task.loss(outputs, targets, label_smoothing=self._loss.label_smoothing)  # pyright: ignore[reportCallIssue]
        return self._task.loss(outputs, targets)

    def _train_mode(self) -> None:
        """Set before every step: an evaluation in between switches the whole predictor."""
        self._hub.train()
        if self._frozen:
            keep_statistics(self._hub.members)

    def _average_gradients(self, weights: Float[Tensor, "B m"]) -> None:
        """Mean over the processes; a model that no process activated keeps no gradient at all."""
        if self._runtime.processes == 1:
            return
        active = top_k(weights, self._hub.top_k).models.flatten().bincount(minlength=len(self._hub.members))
        torch.distributed.all_reduce(active)
        members = [member for member, count in zip(self._hub.members, active.tolist(), strict=True) if count]
        for module in (self._hub.generator, self._hub.aggregator, *members):
            self._runtime.average_gradients(module.parameters())

    def _note_failures(self, routed: Routed) -> None:
        """Keep, without waiting for the device, which models were the first whose outputs are no numbers."""
        bad = ~torch.isfinite(routed.own.detach()).flatten(2).all(2)
        counts = torch.zeros(len(self._failed), device=bad.device).index_add(0, routed.path.models.flatten(), bad.flatten().float())
        found = counts > 0
        self._failed = torch.where(self._failed.any(), self._failed, found)

    def _name_the_failed(self) -> None:
        failed = [name for name, bad in zip(self._names, self._failed.tolist(), strict=True) if bad]
        if failed:
            raise Diverged(
                f"{', '.join(failed)}: outputs became NaN or infinite in training; choose a smaller learning rate, clip the gradient, "
                "or leave the model out of the hub"
            )

    def halve_chunks(self) -> bool:
        self._chunks *= 2
        return self._chunks <= 512

    def finish(self, batches: Iterable[Batch]) -> None:
        if self._reestimate:
            reestimate(self._hub, sample_of(self._task, self._setting))
        self._shares = self._measure_shares()

    @torch.no_grad()
    def _measure_shares(self, batch_size: int = 64) -> dict[str, list[float]]:
        """Mean weight of each model over the validation images, and the share of them that it is activated by."""
        self._hub.eval()
        weights, active = [], []
        for start in range(0, len(self._task.val), batch_size):
            rows = range(start, min(start + batch_size, len(self._task.val)))
            dense = self._hub.generator(self._task.val.canvas(rows, self._setting.canvas_size).to(self._runtime.device))
            weights.append(dense)
            active.append(top_k(dense, self._hub.top_k).dense(dense.shape[1]) > 0)
        return {"pathway_weights": torch.cat(weights).mean(0).tolist(), "activated": torch.cat(active).float().mean(0).tolist()}

    def summary(self) -> dict[str, Any]:
        """Mean pathway weights and activations of the models on the validation images, and a warning where the hub has collapsed."""
        shares = {what: dict(zip(self._names, values, strict=True)) for what, values in self._shares.items()}
        blocked = self._hub.generator.blocked.tolist()
        usable = {what: {n: v for (n, v), no in zip(found.items(), blocked, strict=True) if not no} for what, found in shares.items()}
        warnings = collapse_warnings(usable.get("pathway_weights", {})) or one_path_warnings(usable.get("activated", {}), self._hub.top_k)
        return {**shares, "warnings": warnings}

    def predictor(self) -> RoutedHub:
        return self._hub

    def state_dict(self) -> dict[str, Any]:
        state = {"hub": self._hub.state_dict(), "optimizer": self._optimizer.state_dict()}
        return state | {"chunks": self._chunks, "failed": self._failed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._hub.load_state_dict(state["hub"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._chunks, self._failed = state["chunks"], state["failed"]


def first_scores(errors: Float[Tensor, " m"], prior: float, least: float) -> Float[Tensor, " m"]:
    """-prior e / min e, from which paths start after a trial; HARDLY below the best score at most.

    Args:
        errors: of the models; infinite or NaN where there is none.
        least: an error below this one counts as this one: what a validation split of finite size can tell.
    """
    if not prior:
        return torch.zeros_like(errors)
    known = errors.nan_to_num(nan=torch.inf).clamp_min(least)
    ratios = (known / known.min()).nan_to_num(nan=1.0)
    return -prior * ratios.clamp_max(1 + HARDLY / prior)


def one_path_warnings(activated: dict[str, float], k: int) -> list[str]:
    """In words that the paths do not differ: nearly all images pass through the same k models, as they would without a generator."""
    most = sorted(activated, key=lambda name: -activated[name])[:k]
    share = min((activated[name] for name in most), default=0.0)
    if len(activated) == k or share <= COLLAPSE:
        return []
    images = "all validation images" if share >= 1 else f"at least {100 * share:.1f} % of the validation images"
    return [f"one path for all: {images} pass through {' and '.join(most)}, whatever they show, as is usual on small tasks"]


def collapse_warnings(weights: dict[str, float]) -> list[str]:
    """Hub collapse in words: one model has nearly all of the weight, so that the others were hardly tried."""
    return [
        f"hub collapse: {name} has {100 * weight:.1f} % of the pathway weight on the validation images, the other {len(weights) - 1} "
        f"models share {100 * (1 - weight):.1f} %; raise explore, lower prior or the learning rate, or tune {name} alone for less"
        for name, weight in weights.items()
        if weight > COLLAPSE and len(weights) > 1
    ]
