"""What and where to transfer from one model, or from several, into one network."""

from hubtune.transfer.attention import AttentionTransfer, LwFAttention
from hubtune.transfer.feature_matching import FeatureMatching
from hubtune.transfer.fine_tune import FineTune
from hubtune.transfer.l2t import L2TW, L2TWW
from hubtune.transfer.linear_probe import LinearProbe
from hubtune.transfer.lwf import LwF
from hubtune.transfer.scratch import Scratch

__all__ = ["L2TW", "L2TWW", "AttentionTransfer", "FeatureMatching", "FineTune", "LinearProbe", "LwF", "LwFAttention", "Scratch"]
