"""What the small networks share: everything a timm model offers around its convolutions."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from jaxtyping import Float
from timm.layers import create_classifier
from timm.models import generate_default_cfgs
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from hubtune.errors import ConfigurationError, unknown_name


class StagedNet(nn.Module, ABC):
    """A convolutional network in stages, each ending in a map that transfer methods may match, then a pooled linear classifier.

    A subclass sets ``feature_info`` (one entry per stage: ``num_chs``, ``reduction``, ``module``), then calls ``_set_head``.
    """

    feature_info: list[dict]

    def _set_head(self, num_features: int, num_classes: int, global_pool: str) -> None:
        self.num_features = self.head_hidden_size = num_features
        self.reset_classifier(num_classes, global_pool)

    @abstractmethod
    def block_outputs(self, x: Float[Tensor, "B C H W"]) -> Iterator[tuple[str, Tensor]]:
        """Run the blocks in order; yield (module name, output) of each."""

    def after_blocks(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """What lies between the last block and the pooled head: nothing, unless a network says otherwise."""
        return x

    def forward_features(self, x: Float[Tensor, "B c H W"]) -> Float[Tensor, "B C h w"]:
        """The last feature map, before pooling."""
        for _, output in self.block_outputs(x):
            x = output
        return self.after_blocks(x)

    def forward_head(self, x: Float[Tensor, "B C h w"], pre_logits: bool = False) -> Tensor:
        """Pool and classify; with ``pre_logits`` only pool."""
        x = self.global_pool(x)
        return x if pre_logits else self.linear(x)

    def forward(self, x: Float[Tensor, "B c H W"]) -> Tensor:
        """Logits (B, num_classes), or pooled features where ``num_classes`` is 0."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The linear classifier, an identity where ``num_classes`` is 0."""
        return self.linear

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier on top.

        Args:
            num_classes: outputs of the new classifier; 0 for none.
            global_pool: timm's name of a pooling ("avg", "max", ..., "" for none); the current one if None.
        """
        if global_pool is None:
            global_pool = self.global_pool.pool_type
        self.num_classes = num_classes
        self.global_pool, self.linear = create_classifier(self.num_features, num_classes, pool_type=global_pool)  # pyright: ignore[reportAssignmentType]
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def forward_intermediates(
        self,
        x: Float[Tensor, "B c H W"],
        indices: int | Sequence[int | str] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps on the way, after their ReLU, as timm's models return them.

        Args:
            x: images.
            indices: stages by position (None: all; an integer: the last n), or block names from ``block_names``.
            norm: accepted for timm's callers; these networks have no last normalisation.
            stop_early: run no block behind the last one asked for.
            output_fmt: "NCHW" only.
            intermediates_only: leave the last feature map out of the answer.

        Returns:
            The maps in the order of the network, or (last feature map, maps).

        Raises:
            ConfigurationError: for another ``output_fmt``.
            UnknownNameError: for a name that no block has.
        """
        if output_fmt != "NCHW":
            raise ConfigurationError(f"output_fmt {output_fmt!r} was given, these networks return 'NCHW' maps: leave it out")
        wanted = self._wanted(indices)
        last = max(self.block_names.index(name) for name in wanted)
        maps = []
        for position, (name, output) in enumerate(self.block_outputs(x)):
            x = output
            if name in wanted:
                maps.append(output)
            if stop_early and position == last:
                break
        if intermediates_only:
            return maps
        return x if stop_early and last + 1 < len(self.block_names) else self.after_blocks(x), maps

    def _wanted(self, indices: int | Sequence[int | str] | None) -> set[str]:
        """Block names for ``indices``; a stage stands for its last block."""
        if indices is None or isinstance(indices, int):
            positions, _ = feature_take_indices(len(self.feature_info), indices)
        else:
            names = [i for i in indices if isinstance(i, str)]
            for name in names:
                if name not in self.block_names:
                    raise unknown_name("block", name, self.block_names)
            if len(names) == len(indices):
                return set(names)
            positions, _ = feature_take_indices(len(self.feature_info), [i for i in indices if not isinstance(i, str)])
        return {self.feature_info[i]["module"] for i in positions}

    @property
    @abstractmethod
    def block_names(self) -> tuple[str, ...]:
        """Module names of all blocks, in order."""


def default_cfgs(names: Sequence[str], first_conv: str, classifier: str = "linear"):
    """timm's table of default configurations for networks without weights of their own: 32 x 32 inputs, ImageNet mean and std."""
    cfg = {
        "url": "",
        "num_classes": 10,
        "input_size": (3, 32, 32),
        "pool_size": None,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": first_conv,
        "classifier": classifier,
    }
    return generate_default_cfgs({name: dict(cfg) for name in names})
