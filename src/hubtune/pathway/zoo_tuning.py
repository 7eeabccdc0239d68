"""Zoo-Tuning: one network whose every convolution mixes the kernels of all models, for each image anew."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hubtune.errors import ConfigurationError
from hubtune.hub import Backbone, Hub
from hubtune.pathway.alike import check_alike, check_one_architecture
from hubtune.pathway.students import best_by_probe
from hubtune.tasks import Task
from hubtune.training.method import Method, Result, Setting
from hubtune.training.predictor import Predictor, answer, head_from_spec, head_spec
from hubtune.training.seeds import derive
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import Rates, TrainedMethod

LITE_MOMENTUM = 0.1
SMALL = 64
"""Places of a map, times the models but one, up to which the sum of all models' maps is the faster form."""
ANY_MODELS = "choose models of one architecture, or use hub-pathway or ensemble, which take any"


class MixedConv(nn.Module):
    """A convolution with the kernel 2/m sum_i a_i(x) A_i W_i, for each image x of its own.

    a(x) (m,) in (0, 1) is a gate: pool x, 1 x 1 to C/4 + 1 channels, ReLU, 1 x 1 to m, sigmoid. A_i mixes the output channels of model
    i's kernel W_i so that the models' channels can be aligned; it starts as the identity, and kernels of 1 x 1 have none. With ``lite``
    the gate is averaged over the images: in training 0.9 of its running mean and 0.1 of the batch's, in evaluation the running mean.

    Source: Shu et al. (2021), Zoo-Tuning, section 3; the authors' code for the gate's form and for which kernels are aligned.
    Differs from the paper: the factor 2/m, with which a gate of one half starts from the models' mean, also without BatchNorm behind
    it. Differs from the authors' code: with ``lite`` the averaged gate is what weighs the kernels, in every convolution, and the
    running mean carries no gradient.
    """

    running: Tensor

    def __init__(self, convs: Sequence[nn.Conv2d], lite: bool):
        super().__init__()
        first = convs[0]
        # Four dimensions, as a memory format asks for: the models' kernels are one behind the other.
        self.weight = nn.Parameter(torch.cat([conv.weight.detach() for conv in convs]))
        self.models = len(convs)
        self.bias = (
            nn.Parameter(torch.stack([conv.bias.detach() for conv in convs if conv.bias is not None])) if first.bias is not None else None
        )
        outputs, models = first.out_channels, len(convs)
        aligned = max(first.kernel_size) > 1
        self.align = nn.Parameter(torch.eye(outputs).repeat(models, 1, 1)) if aligned else None
        hidden = first.in_channels // 4 + 1
        self.gate = nn.Sequential(nn.Linear(first.in_channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, models), nn.Sigmoid())
        nn.init.zeros_(self.gate[2].bias)  # pyright: ignore[reportArgumentType]
        self.lite = lite
        self.register_buffer("running", torch.full((models,), 0.5))
        self._geometry = {"stride": first.stride, "padding": first.padding, "dilation": first.dilation}
        self._groups = first.groups

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O h w"]:
        gate = self._gate(x) * (2 / self.models)
        kernels = self.weight.unflatten(0, (self.models, -1))
        if self.align is not None:
            kernels = torch.einsum("eop,epikl->eoikl", self.align, kernels)
        if self.lite:
            bias = None if self.bias is None else gate @ self.bias
            return F.conv2d(x, torch.einsum("e,eoikl->oikl", gate, kernels), bias, groups=self._groups, **self._geometry)
        return self._sum_of_maps(x, gate, kernels) if self._maps_are_small(x) else self._sum_of_kernels(x, gate, kernels)

    def _maps_are_small(self, x: Tensor) -> bool:
        """Whether m maps are made sooner than a kernel for each image. In training only: kernels need fewer operations."""
        places = x.shape[2] * x.shape[3] // (self._geometry["stride"][0] * self._geometry["stride"][1])
        return self.training and self._groups == 1 and (self.models - 1) * places <= SMALL

    def _sum_of_kernels(self, x: Tensor, gate: Float[Tensor, "B m"], kernels: Float[Tensor, "m O I k l"]) -> Float[Tensor, "B O h w"]:
        batch = len(x)
        kernel = torch.einsum("be,eoikl->boikl", gate, kernels).flatten(0, 1)
        bias = None if self.bias is None else (gate @ self.bias).flatten()
        y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel, bias, groups=batch * self._groups, **self._geometry)
        return y.reshape(batch, -1, *y.shape[2:])

    def _sum_of_maps(self, x: Tensor, gate: Float[Tensor, "B m"], kernels: Float[Tensor, "m O I k l"]) -> Float[Tensor, "B O h w"]:
        """The same, since a convolution is linear in its kernel."""
        bias = None if self.bias is None else self.bias.flatten()
        maps = F.conv2d(x, kernels.flatten(0, 1), bias, **self._geometry).unflatten(1, (self.models, -1))
        return torch.einsum("be,beohw->bohw", gate, maps)

    def _gate(self, x: Tensor) -> Tensor:
        """(B, m), or (m,) with ``lite``."""
        if not self.lite:
            return self.gate(x.mean((2, 3)))
        if not self.training:
            return self.running
        mixed = (1 - LITE_MOMENTUM) * self.running + LITE_MOMENTUM * self.gate(x.mean((2, 3))).mean(0)
        self.running.copy_(mixed.detach())
        return mixed


def mix(networks: Sequence[nn.Module], lite: bool) -> None:
    """Replace every convolution of the first network by the mixture of all networks' convolutions at that place."""
    places = [name for name, module in networks[0].named_modules() if type(module) is nn.Conv2d]
    for name in places:
        mixed = MixedConv([network.get_submodule(name) for network in networks], lite)  # pyright: ignore[reportArgumentType]
        parent, _, leaf = name.rpartition(".")
        setattr(networks[0].get_submodule(parent), leaf, mixed)


@final
class ZooNetwork(Predictor):
    """One head on one network with mixed convolutions."""

    kind = "zoo-tuning"

    def __init__(self, backbone: Backbone, head: nn.Module, models: int, lite: bool):
        """
        Args:
            backbone: with convolutions that ``mix`` has replaced.
            models: m.
        """
        super().__init__()
        # The description is of the architecture, which the mixed convolutions are no part of.
        self._spec = {"kind": self.kind, "backbone": backbone.spec(), "models": models, "lite": lite}
        self.backbone = backbone
        self.head = head

    def forward(self, canvas: UInt8[Tensor, "B c H W"]) -> Tensor:
        return answer(self.backbone, self.head, canvas)

    def spec(self) -> dict[str, Any]:
        return {**self._spec, **head_spec(self.head)}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "ZooNetwork":
        backbone = Backbone.from_spec(spec["backbone"])
        mix([backbone.network] * spec["models"], spec["lite"])
        return cls(backbone, head_from_spec(spec, backbone), spec["models"], spec["lite"])


@dataclass(frozen=True, kw_only=True)
class ZooTuning(TrainedMethod):
    """Fine-tune one network whose every convolution is, for each image, a gated mixture of all models' kernels.

    The models must share an architecture. Everything but the convolutions comes from the model on whose frozen features a linear head
    does best. The deployed network holds the kernels of all models and costs about one.

    Source: Shu et al. (2021), Zoo-Tuning: adaptive transfer from a zoo of models.
    Differs from the paper: see ``MixedConv``; it does not say where the other weights come from.
    """

    name: ClassVar[str] = "zoo-tuning"
    takes_many: ClassVar[bool] = True
    lite: ClassVar[bool] = False

    learning_rates: Rates = "auto"
    """First learning rates, each tried; auto as in fine-tune."""

    def variants(self, task: Task) -> list[Method]:
        return [dataclasses.replace(self, learning_rates=(rate,)) for rate in self.tried_rates(self.learning_rates)]

    def check(self, hub: Hub, task: Task) -> None:
        check_one_architecture(hub, self.name, ANY_MODELS)

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> SupervisedLearner:
        check_alike(backbones, self.name, ANY_MODELS)
        best = best_by_probe(backbones, task, setting)
        ordered = [backbones[best], *(backbone for i, backbone in enumerate(backbones) if i != best)]
        base = ordered[0].to("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(setting.seed, self.name))
            mix([backbone.to("cpu").network for backbone in ordered], self.lite)
            head = task.head(base)
        if not any(isinstance(module, MixedConv) for module in base.modules()):
            raise ConfigurationError(
                f"{base.card.architecture} has no convolutions to mix; use hub-pathway or ensemble, which take any model"
            )
        return SupervisedLearner(
            ZooNetwork(base, head, len(backbones), self.lite),
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.tried_rates(self.learning_rates)[0]),
            runtime=setting.runtime,
            frozen_batch_norm=self.batch_norm == "frozen",
            label_smoothing=self.label_smoothing,
        )


@dataclass(frozen=True, kw_only=True)
class ZooTuningLite(ZooTuning):
    """Zoo-Tuning whose gates are averaged over the images: one mixture for the whole task.

    Source: Shu et al. (2021), "Lite Zoo-Tuning". Differs from the paper: as ``zoo-tuning``.
    """

    name: ClassVar[str] = "zoo-tuning-l"
    lite: ClassVar[bool] = True
