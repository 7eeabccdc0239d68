"""The hubs of the Hub-Pathway paper.

Source: Shu et al. (2022), "Hub-Pathway: Transfer Learning from A Hub of Pre-trained Models", section 4.1.
"""

from hubtune.errors import unknown_name
from hubtune.hub.hub import Hub
from hubtune.hub.torchvision import open_torchvision
from hubtune.hub.trunks import trunk_entry

_HOMOGENEOUS = ("resnet50_imagenet", "resnet50_moco", "maskrcnn_resnet50_fpn", "deeplabv3_resnet50", "keypointrcnn_resnet50_fpn")
_HETEROGENEOUS = ("maskrcnn_resnet50_fpn", "mobilenet_v3_large", "efficientnet_b3", "swin_t", "convnext_tiny")


def open_paper(name: str = "") -> Hub:
    """``paper:homogeneous``: five ResNet-50; ``paper:heterogeneous``: five architectures. Downloads nothing until one is loaded.

    Differs from the paper: it does not say which published weights of MobileNetV3 it took; these are torchvision's recommended ones.

    Raises:
        UnknownNameError: another name.
    """
    if name == "homogeneous":
        return Hub(trunk_entry(each, "paper:homogeneous") for each in _HOMOGENEOUS)
    if name == "heterogeneous":
        hub = Hub()
        for each in _HETEROGENEOUS:
            hub = hub | open_torchvision(each)
        return hub
    raise unknown_name("hub of a paper", name, ("homogeneous", "heterogeneous"))
