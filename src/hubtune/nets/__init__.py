"""Architectures of the papers that timm lacks, registered with timm when this package is imported."""

from hubtune.nets.base import StagedNet
from hubtune.nets.cifar_mobilenet import cifar_mobilenet
from hubtune.nets.cifar_resnet import CifarResNet
from hubtune.nets.data_efficient_cnn import DataEfficientCnn
from hubtune.nets.deconvolution import DeconvolutionHead
from hubtune.nets.dueling import DuelingHead, NoisyLinear, draw_noise
from hubtune.nets.vgg9 import VGG9

__all__ = [
    "VGG9",
    "CifarResNet",
    "DataEfficientCnn",
    "DeconvolutionHead",
    "DuelingHead",
    "NoisyLinear",
    "StagedNet",
    "cifar_mobilenet",
    "draw_noise",
]
