"""The CIFAR ResNets: three stages of basic blocks with 16, 32 and 64 channels.

Source: He et al., Deep Residual Learning for Image Recognition, 2016, Section 4.2 (6n + 2 layers, n blocks a stage).
"""

from collections.abc import Iterator

import torch.nn.functional as F
from jaxtyping import Float
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from hubtune.errors import ConfigurationError
from hubtune.nets.base import StagedNet
from hubtune.nets.base import default_cfgs as make_default_cfgs

__all__ = ["BasicBlock", "CifarResNet"]

CHANNELS = (16, 32, 64)


class BasicBlock(nn.Module):
    """y = relu(F(x) + s(x)) with F = conv-BN-ReLU-conv-BN and s the identity, or a shortcut where the shape changes.

    Shortcut "A" takes every second pixel and pads (o - i) / 2 zero channels on both sides; "B" is a 1 x 1 convolution with BatchNorm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.padding = (channels - in_channels) // 2
        self.downsample = None
        if shortcut == "B" and (stride != 1 or in_channels != channels):
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Float[Tensor, "B i H W"]) -> Float[Tensor, "B o h w"]:
        """The block's output, after its last ReLU."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.stride != 1 or self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(out + x)


class CifarResNet(StagedNet):
    """A ResNet for 32 x 32 images; its maps are the outputs of the three stages: (B, 16, H, W), (B, 32, H/2, W/2), (B, 64, H/4, W/4).

    Source: He et al. 2016, Section 4.2. Differs from the paper: none (shortcut "B" and ``stem_bias`` serve published checkpoints).

    Args:
        depth: layers, 6n + 2.
        num_classes: outputs; 0 for pooled features.
        in_chans: input channels.
        shortcut: "A" or "B", see `BasicBlock`.
        stem_bias: whether the first convolution has a bias.
        global_pool: timm's name of the pooling before the classifier.

    Raises:
        ConfigurationError: for a depth that is not 6n + 2 or another shortcut.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_chans: int = 3,
        shortcut: str = "A",
        stem_bias: bool = False,
        global_pool: str = "avg",
    ):
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ConfigurationError(f"depth {depth} was given, expected 6n + 2 layers: use 8, 14, 20, 32, 44, 56, ...")
        if shortcut not in ("A", "B"):
            raise ConfigurationError(f"shortcut {shortcut!r} was given, expected 'A' (zero padding) or 'B' (1 x 1 convolution): choose one")
        self.conv1 = nn.Conv2d(in_chans, CHANNELS[0], 3, 1, 1, bias=stem_bias)
        self.bn1 = nn.BatchNorm2d(CHANNELS[0])
        blocks = (depth - 2) // 6
        width = CHANNELS[0]
        for stage, channels in enumerate(CHANNELS, start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                layer.append(BasicBlock(width, channels, 2 if stage > 1 and block == 0 else 1, shortcut))
                width = channels
            self.add_module(f"layer{stage}", layer)
        self.feature_info = [
            {"num_chs": channels, "reduction": 2**i, "module": f"layer{i + 1}.{blocks - 1}"} for i, channels in enumerate(CHANNELS)
        ]
        self._set_head(CHANNELS[-1], num_classes, global_pool)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def block_names(self) -> tuple[str, ...]:
        """layer1.0, ..., layer3.(n-1)."""
        return tuple(f"layer{s}.{b}" for s in (1, 2, 3) for b in range(len(getattr(self, f"layer{s}"))))

    def block_outputs(self, x: Float[Tensor, "B C H W"]) -> Iterator[tuple[str, Tensor]]:
        """Outputs of the residual blocks; the stem runs before the first."""
        x = F.relu(self.bn1(self.conv1(x)))
        for name in self.block_names:
            x = self.get_submodule(name)(x)
            yield name, x


default_cfgs = make_default_cfgs([f"cifar_resnet{depth}" for depth in (8, 14, 20, 32, 44, 56)], first_conv="conv1")


def _create(variant: str, pretrained: bool, **kwargs) -> CifarResNet:
    return build_model_with_cfg(CifarResNet, variant, pretrained, feature_cfg={"out_indices": (0, 1, 2), "feature_cls": "getter"}, **kwargs)


@register_model
def cifar_resnet8(pretrained: bool = False, **kwargs) -> CifarResNet:
    """1 block a stage, 0.08 million parameters."""
    return _create("cifar_resnet8", pretrained, depth=8, **kwargs)


@register_model
def cifar_resnet14(pretrained: bool = False, **kwargs) -> CifarResNet:
    """2 blocks a stage, 0.18 million parameters."""
    return _create("cifar_resnet14", pretrained, depth=14, **kwargs)


@register_model
def cifar_resnet20(pretrained: bool = False, **kwargs) -> CifarResNet:
    """3 blocks a stage, 0.27 million parameters."""
    return _create("cifar_resnet20", pretrained, depth=20, **kwargs)


@register_model
def cifar_resnet32(pretrained: bool = False, **kwargs) -> CifarResNet:
    """5 blocks a stage, 0.46 million parameters."""
    return _create("cifar_resnet32", pretrained, depth=32, **kwargs)


@register_model
def cifar_resnet44(pretrained: bool = False, **kwargs) -> CifarResNet:
    """7 blocks a stage, 0.66 million parameters."""
    return _create("cifar_resnet44", pretrained, depth=44, **kwargs)


@register_model
def cifar_resnet56(pretrained: bool = False, **kwargs) -> CifarResNet:
    """9 blocks a stage, 0.85 million parameters."""
    return _create("cifar_resnet56", pretrained, depth=56, **kwargs)
