"""What and where to transfer from one model, or from several, into one network."""

from hubtune.transfer.fine_tune import FineTune
from hubtune.transfer.linear_probe import LinearProbe
from hubtune.transfer.scratch import Scratch

__all__ = ["FineTune", "LinearProbe", "Scratch"]
