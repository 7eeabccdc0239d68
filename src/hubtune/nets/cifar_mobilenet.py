"""A MobileNetV2 for 32 x 32 images: fewer and later down-scalings than the original, which would leave one pixel.

Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018. Differs from the paper: seven blocks, total stride 8
instead of 32 (strides 2, 1, 1, 2, 2 from the stem on), expansion 4 instead of 6, 256 features instead of 1280.
"""

from timm.models import build_model_with_cfg, register_model
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet

from hubtune.nets.base import default_cfgs as make_default_cfgs

__all__ = []

# timm's notation: ir = inverted residual, ds = depthwise separable, r = repeats, k = kernel, s = stride, e = expansion, c = channels
BLOCKS = [["ds_r1_k3_s1_c16"], ["ir_r2_k3_s1_e4_c24"], ["ir_r2_k3_s2_e4_c32"], ["ir_r2_k3_s2_e4_c64"]]

default_cfgs = make_default_cfgs(["cifar_mobilenet"], first_conv="conv_stem", classifier="classifier")


@register_model
def cifar_mobilenet(pretrained: bool = False, **kwargs) -> EfficientNet:
    """0.09 million parameters without its classifier; its maps are 16 x 16, 8 x 8 and 4 x 4 for 32 x 32 images."""
    return build_model_with_cfg(
        EfficientNet,
        "cifar_mobilenet",
        pretrained,
        block_args=decode_arch_def(BLOCKS),
        num_features=256,
        stem_size=16,
        act_layer="relu6",
        feature_cfg={"out_indices": (0, 1, 2), "feature_cls": "getter"},
        **kwargs,
    )
