"""A method of one's own is a frozen dataclass; everything else comes with it.

Command:   python examples/own_method.py
"""

from dataclasses import dataclass
from typing import ClassVar

import hubtune as ht
from hubtune.training.predictor import Single
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import TrainedMethod


@dataclass(frozen=True, kw_only=True)
class HeadOnly(TrainedMethod):
    """Train a head by gradient steps; the backbone stays as it is."""

    name: ClassVar[str] = "head-only"

    learning_rate: float = 0.1
    """Of the head."""

    def learner(self, backbones, task, results, setting):
        [backbone] = backbones
        backbone.requires_grad_(False)
        return SupervisedLearner(
            Single(backbone, task.head(backbone)),
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.learning_rate),
            runtime=setting.runtime,
        )


def main() -> None:
    task = ht.Task.open("demo:digits").take(train=120, val=60, test=120)
    hub = ht.Hub.open("demo").subset(["resnet8_glyphs"])
    run = ht.tune(task, hub, method=HeadOnly(steps=40), workers=1)
    print(f"head only: test accuracy {run.metrics['test_accuracy']:.3f}")


if __name__ == "__main__":
    main()
