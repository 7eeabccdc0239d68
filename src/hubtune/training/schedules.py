"""Learning rates over training, as factors of the first one."""

import math
from typing import Literal

Schedule = Literal["step", "late-step", "cosine", "constant"]

MILESTONES = (0.3, 0.6, 0.9)
"""Steps 750, 1500 and 2250 of 2500. Source: Renggli et al. (2021), after Zhai et al. (2019), VTAB-1K."""
LATE_MILESTONES = (1 / 2, 5 / 6)
"""Epochs 30 and 50 of 60. Source: Sun et al. (2019), High-resolution representations for labeling pixels and regions."""


def learning_rate_factor(schedule: Schedule, progress: float, warmup: float = 0.0, milestones: tuple[float, ...] = MILESTONES) -> float:
    """The factor by which the first learning rate is multiplied.

    step: 0.1 to the number of milestones passed; late-step: the same at half and five sixths. cosine: (1 + cos(pi t)) / 2. constant: 1.
    Each is preceded by a linear warm-up.

    Args:
        progress: share of the training that is done, in [0, 1).
        warmup: share of the training during which the rate grows from 0.
        milestones: shares of the training after which the step schedule multiplies by 0.1.
    """
    if progress < warmup:
        return progress / warmup
    if schedule == "cosine":
        return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
    if schedule == "late-step":
        milestones = LATE_MILESTONES
    if schedule in ("step", "late-step"):
        return 0.1 ** sum(progress >= milestone for milestone in milestones)
    return 1.0
