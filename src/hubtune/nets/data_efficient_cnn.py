"""The two convolutions of Data-Efficient Rainbow, as a network of timm's: a stack of grey frames in, a flat vector out."""

from collections.abc import Iterator

from jaxtyping import Float
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from hubtune.errors import ConfigurationError
from hubtune.nets.base import StagedNet, default_cfgs

__all__ = ["DataEfficientCnn"]

KERNEL = 5
"""Side and stride of both convolutions."""


class DataEfficientCnn(StagedNet):
    """32 filters 5 x 5 with stride 5, ReLU, 64 filters 5 x 5 with stride 5, ReLU, flattened: 576 features of 84 x 84 pixels.

    Source: van Hasselt, Hessel and Aslanides (2019), When to use parametric models in reinforcement learning?, appendix E.

    Args:
        num_classes: outputs of a linear classifier; 0 for the features.
        in_chans: frames in a stack.
        img_size: side of a frame in pixels, at least 29.
        global_pool: accepted for timm's callers; where things are must not be pooled away.

    Raises:
        ConfigurationError: for frames that are too small for two such convolutions.
    """

    def __init__(self, num_classes: int = 0, in_chans: int = 4, img_size: int = 84, global_pool: str = ""):
        super().__init__()
        side = img_size
        for _ in range(2):
            side = (side - KERNEL) // KERNEL + 1
        if side < 1:
            raise ConfigurationError(f"frames of {img_size} pixels were given, expected at least {KERNEL * KERNEL}")
        self.conv1 = nn.Sequential(nn.Conv2d(in_chans, 32, KERNEL, stride=KERNEL), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(nn.Conv2d(32, 64, KERNEL, stride=KERNEL), nn.ReLU(inplace=True))
        self.feature_info = [
            {"num_chs": 32, "reduction": KERNEL, "module": "conv1"},
            {"num_chs": 64, "reduction": KERNEL * KERNEL, "module": "conv2"},
        ]
        self.num_features = self.head_hidden_size = 64 * side * side
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier on top; 0 for none."""
        self.num_classes = num_classes
        self.linear = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_head(self, x: Float[Tensor, "B C h w"], pre_logits: bool = False) -> Tensor:
        """Flatten and classify; with ``pre_logits`` only flatten."""
        x = x.flatten(1)
        return x if pre_logits else self.linear(x)

    @property
    def block_names(self) -> tuple[str, ...]:
        """conv1, conv2."""
        return ("conv1", "conv2")

    def block_outputs(self, x: Float[Tensor, "B C H W"]) -> Iterator[tuple[str, Tensor]]:
        """Outputs of the two convolutions, after their ReLU."""
        for name in self.block_names:
            x = self.get_submodule(name)(x)
            yield name, x


default_cfgs = default_cfgs(["data_efficient_cnn"], first_conv="conv1.0")


@register_model
def data_efficient_cnn(pretrained: bool = False, **kwargs) -> DataEfficientCnn:
    """54,496 parameters with four frames."""
    return build_model_with_cfg(DataEfficientCnn, "data_efficient_cnn", pretrained, **kwargs)
