"""The 9-layer VGG of the L2T-ww paper: eight 3 x 3 convolutions in five stages, one linear layer.

Source: Jang et al., Learning What and Where to Transfer, 2019, Figure 3 (the sizes of the five maps); Simonyan & Zisserman, 2015.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from jaxtyping import Float
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from hubtune.errors import ConfigurationError
from hubtune.nets.base import StagedNet
from hubtune.nets.base import default_cfgs as make_default_cfgs

__all__ = ["VGG9"]

STAGES = ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2))  # (channels, convolutions)


class VGG9(StagedNet):
    """Conv-BN-ReLU in five stages, each followed by a 2 x 2 max-pool; its maps are the stages' outputs before that pool.

    On 32 x 32 images the maps are 64 x 32 x 32, 128 x 16 x 16, 256 x 8 x 8, 512 x 4 x 4 and 512 x 2 x 2 (times ``width`` in channels).
    Source: Jang et al. 2019, Figure 3. Differs from the paper: the number of convolutions a stage is VGG-11's, which the paper does not
    state; eight of them and one linear layer make nine.

    Args:
        num_classes: outputs; 0 for pooled features.
        in_chans: input channels.
        width: factor on every stage's channels, above 0.
        global_pool: timm's name of the pooling before the classifier.

    Raises:
        ConfigurationError: for a width that leaves no channel.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 3, width: float = 1.0, global_pool: str = "avg"):
        super().__init__()
        if round(STAGES[0][0] * width) < 1:
            raise ConfigurationError(f"width {width} was given, expected at least 1/64 so that every stage has a channel: raise it")
        self.stages = nn.Sequential()
        self.feature_info = []
        channels = in_chans
        for index, (base, convolutions) in enumerate(STAGES):
            stage = nn.Sequential()
            for _ in range(convolutions):
                out = round(base * width)
                stage.extend([nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)])
                channels = out
            self.stages.append(stage)
            self.feature_info.append({"num_chs": channels, "reduction": 2**index, "module": f"stages.{index}"})
        self._set_head(channels, num_classes, global_pool)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def block_names(self) -> tuple[str, ...]:
        """stages.0, ..., stages.4."""
        return tuple(f"stages.{i}" for i in range(len(self.stages)))

    def block_outputs(self, x: Float[Tensor, "B C H W"]) -> Iterator[tuple[str, Tensor]]:
        """Outputs of the five stages, before their max-pool."""
        for index, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if index else x)
            yield f"stages.{index}", x

    def after_blocks(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """The last max-pool."""
        return F.max_pool2d(x, 2)


default_cfgs = make_default_cfgs(["vgg9"], first_conv="stages.0.0")


@register_model
def vgg9(pretrained: bool = False, **kwargs) -> VGG9:
    """5.3 million parameters at width 1."""
    return build_model_with_cfg(VGG9, "vgg9", pretrained, feature_cfg={"out_indices": (0, 1, 2, 3, 4), "feature_cls": "getter"}, **kwargs)
