"""Points of a face, or of anything else whose points have names: where they lie in an image."""

from hubtune.landmarks.schemes import COFW, SCHEMES, W300, WFLW, Scheme
from hubtune.landmarks.task import Landmarks

__all__ = ["COFW", "SCHEMES", "W300", "WFLW", "Landmarks", "Scheme"]
