"""A method that workers can import, and that one of them does not survive."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hubtune.transfer import FineTune


@dataclass(frozen=True, kw_only=True)
class Deadly(FineTune):
    """Fine-tuning that kills its process half-way, the first time."""

    name: ClassVar[str] = "deadly"

    mark: str
    """A file that says that it happened."""
    victim: str
    """The model whose training it is."""

    def learner(self, backbones, task, results, setting):
        learner = super().learner(backbones, task, results, setting)
        step, deadly = learner.step, backbones[0].card.name == self.victim

        def step_or_die(batch, progress):
            if deadly and progress >= 0.5 and not Path(self.mark).exists():
                Path(self.mark).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return step(batch, progress)

        learner.step = step_or_die
        return learner


def die(job):
    os.kill(os.getpid(), signal.SIGKILL)
