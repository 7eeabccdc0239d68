"""What is deployed: from a canvas to the task's outputs."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hubtune.hub import Backbone
from hubtune.nets import DeconvolutionHead, DuelingHead


class Predictor(nn.Module):
    """A network from images to outputs that can be written to a folder and rebuilt from it. Abstract."""

    kind: str
    """The name under which the folder says how to rebuild it."""

    @abstractmethod
    def forward(self, canvas: UInt8[Tensor, "B c H W"]) -> Tensor:
        """The task's outputs, such as logits (B, C)."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """How to rebuild it with other weights, as JSON; ``from_spec`` takes it back."""

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: dict[str, Any]) -> "Predictor": ...

    @property
    def path(self) -> Float[Tensor, "B m"] | None:
        """Weights of the models on the last batch's paths, exact zeros where blocked; None where there is one model."""
        return None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that ``path`` is over; none where there is no path."""
        return ()


def answer(backbone: Backbone, head: nn.Module, canvas: UInt8[Tensor, "B c H W"]) -> Tensor:
    """``head(embed(view(canvas)))``, or ``head(maps(view(canvas)))`` where the head reads maps."""
    x = backbone.view(canvas)
    return head(backbone.maps(x) if isinstance(head, DeconvolutionHead) else backbone.embed(x))


def head_spec(head: nn.Module) -> dict[str, Any]:
    """How to rebuild a head with other weights, as JSON; ``head_from_spec`` takes it back."""
    spec = {"outputs": head.out_features}
    return {**spec, "head": head.spec()} if isinstance(head, DeconvolutionHead | DuelingHead) else spec


def head_from_spec(spec: dict[str, Any], backbone: Backbone) -> nn.Module:
    """The head that ``head_spec`` described, with fresh weights: linear where nothing else is said."""
    if "head" in spec:
        kinds = {kind.kind: kind for kind in (DeconvolutionHead, DuelingHead)}
        return kinds[spec["head"]["kind"]].from_spec(spec["head"], spec["outputs"])
    return nn.Linear(backbone.feature_dim, spec["outputs"])


class Single(Predictor):
    """One backbone and one head: ``head(embed(view(canvas)))``, or ``head(maps(view(canvas)))`` where the head reads maps."""

    kind = "single"

    def __init__(self, backbone: Backbone, head: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, canvas: UInt8[Tensor, "B c H W"]) -> Tensor:
        return answer(self.backbone, self.head, canvas)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "backbone": self.backbone.spec(), **head_spec(self.head)}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "Single":
        backbone = Backbone.from_spec(spec["backbone"])
        return cls(backbone, head_from_spec(spec, backbone))


@torch.no_grad()
def freeze(module: nn.Module) -> None:
    """Take a module out of training: no gradients, evaluation mode."""
    module.requires_grad_(False)
    module.eval()


def keep_statistics(network: nn.Module) -> None:
    """Let BatchNorm in every backbone of a network use the pre-trained statistics; a head's, which start afresh, are still estimated."""
    for backbone in network.modules():
        if isinstance(backbone, Backbone):
            for module in backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
