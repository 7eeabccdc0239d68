"""The deployed Hub-Pathway: a generator, the models of the hub, an aggregator."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, final

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hubtune.pathway.aggregator import Aggregator
from hubtune.pathway.batch_norm import batch_norms, frozen
from hubtune.pathway.generator import PathwayGenerator, RandomPathway, generator_from_spec
from hubtune.pathway.lazy_members import MEMBERS, LazyMember, Shelf, read_without
from hubtune.pathway.routing import Path, route, spread, top_k
from hubtune.training.predictor import Predictor, Single


@dataclass(frozen=True)
class Routed:
    """A batch that has been through the hub."""

    outputs: Float[Tensor, "B C ..."]
    """Of the hub."""
    own: Float[Tensor, "B k C ..."]
    """Of each image's activated models."""
    path: Path


@final
class RoutedHub(Predictor):
    """A([top-k(G(x))_i Theta_i(x)]_i): each image passes through k of m models, each with a view of its own.

    Every image's outputs depend on that image alone. In training under BatchNorm a model sees the statistics of its own rows; a model
    with one row only uses its running statistics for that step, since one image has none.

    Source: Shu et al. (2022), section 3, Figure 1.
    """

    kind = "hub-pathway"

    def __init__(
        self, members: Sequence[Single | LazyMember], generator: PathwayGenerator | RandomPathway, aggregator: Aggregator, top_k: int
    ):
        """
        Args:
            members: the m models with their heads, all of C outputs.
            generator: of the weights.
            aggregator: of the weighted outputs.
            top_k: k, from 1 to m.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.generator = generator
        self.aggregator = aggregator
        self.top_k = top_k
        self._path: Tensor | None = None

    def forward(self, canvas: UInt8[Tensor, "B c H W"]) -> Float[Tensor, "B C ..."]:
        routed = self.routed(canvas, self.generator(canvas))
        self._path = routed.path.dense(len(self.members)).detach()
        return routed.outputs

    def routed(self, canvas: UInt8[Tensor, "B c H W"], weights: Float[Tensor, "B m"]) -> Routed:
        """Send a batch through the hub along the paths that dense weights decide."""
        path = top_k(weights, self.top_k)
        own = route([_Careful(member) for member in self.members], canvas, path.models)
        weighted = own * path.weights.reshape(*path.weights.shape, *[1] * (own.ndim - 2))
        return Routed(self.aggregator(spread(weighted, path.models, len(self.members))), own, path)

    @property
    def path(self) -> Float[Tensor, "B m"] | None:
        """Weights of the models on the last batch's paths, exact zeros where blocked; None before the first batch."""
        return self._path

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(member["backbone"]["card"]["name"] for member in self.spec()["members"])

    def spec(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "members": [member.spec() for member in self.members],  # pyright: ignore[reportCallIssue]
            "generator": self.generator.spec(),
            "outputs": self.aggregator.linear.out_features,
            "top_k": self.top_k,
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "RoutedHub":
        members = [Single.from_spec(member) for member in spec["members"]]
        return cls._around(members, spec)

    @classmethod
    def _around(cls, members: Sequence[Single | LazyMember], spec: dict[str, Any]) -> "RoutedHub":
        return cls(members, generator_from_spec(spec["generator"]), Aggregator(len(members), spec["outputs"]), spec["top_k"])

    @classmethod
    def lazy(cls, spec: dict[str, Any], file: File, max_resident: int) -> "RoutedHub":
        """A saved hub, ready to predict, of which at most ``max_resident`` models are in memory at once; predictions are the same.

        Args:
            spec: as ``from_spec`` takes it.
            file: the safetensors of the whole hub.

        Raises:
            RunError: the file cannot be read, or belongs to another hub.
        """
        shelf = Shelf(spec["members"], file, max_resident)
        hub = cls._around([LazyMember(shelf, place) for place in range(len(spec["members"]))], spec)
        hub.load_state_dict(read_without(file, MEMBERS))
        return hub.eval()


class _Careful:
    """Runs a model so that a part of one row does not fail under BatchNorm."""

    def __init__(self, member: nn.Module):
        self._member = member

    def __call__(self, canvas: Tensor) -> Tensor:
        with frozen(batch_norms(self._member) if len(canvas) == 1 and self._member.training else []):
            return self._member(canvas)
