"""Where the time of one exact iteration of l2t-ww goes.

Command:   python benchmarks/l2t_profile.py                     (about a minute on one core, 3 GB)
Writes:    benchmarks/results/l2t_profile.json and .md
Setting:   that of l2t_speed.py: ResNet-32 -> VGG9 with BatchNorm, 15 pairs, T = 2, batch 128 of 32 x 32 pixels, one thread. Parts are timed
           in seconds of the process's own, each without the parts inside it, and given in plain supervised steps of the target, which
           are measured between the iterations. The fastest of each counts, after one iteration to warm up.
Expected:  the backward pass through the virtual steps' gradients ("meta-backward") is the largest part, its convolutions most of that; what
           is not arithmetic (states, copies, Adam, statistics) next to nothing.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from l2t_speed import BATCH, RESULTS, make_batch, make_learner, make_plain, make_task, seconds

from hubtune.training import bilevel, double_backward
from hubtune.transfer import l2t_learner
from hubtune.transfer.feature_matcher import FeatureMatcher
from hubtune.transfer.source_memory import SourceMemory

STAGES = ("source forward", "resizing", "step on L_total", "virtual forward", "virtual backward", "meta-backward", "the rest")
KINDS = ("convolution", "BatchNorm", "other")


class Stopwatch:
    """Seconds of each part, where a part inside another stops the outer one's clock."""

    def __init__(self):
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._running: list[tuple[str, str]] = [("the rest", "other")]
        self._since = time.process_time()

    def restart(self) -> dict[tuple[str, str], float]:
        """Begin anew; returns the seconds until now."""
        self._charge()
        found, self.seconds = dict(self.seconds), defaultdict(float)
        return found

    def _charge(self) -> None:
        now = time.process_time()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def around(self, function, *, stage=None, kind=None):
        """The function, timed as a stage (a name, or a function of the arguments) or as a kind of work within the running stage."""

        def timed(*arguments, **options):
            self._charge()
            running_stage = self._running[-1][0]
            named = stage(*arguments, **options) if callable(stage) else stage
            self._running.append((named, "other") if named else (running_stage, kind))
            try:
                return function(*arguments, **options)
            finally:
                self._charge()
                self._running.pop()

        return timed


def instrument(watch: Stopwatch) -> None:
    """Time the parts of the learner, for the rest of the process."""
    SourceMemory.__call__ = watch.around(SourceMemory.__call__, stage="source forward")
    FeatureMatcher.resize = watch.around(FeatureMatcher.resize, stage="resizing")
    learner = l2t_learner.L2TLearner
    learner._step_target = watch.around(learner._step_target, stage="step on L_total")
    l2t_learner.functional_call = watch.around(l2t_learner.functional_call, stage="virtual forward")
    through = {True: "virtual backward", False: "meta-backward"}
    bilevel._gradient = watch.around(bilevel._gradient, stage=lambda y, x, v=None, create_graph=False: through[v is None])
    for name in ("_convolve", "_input_gradient", "_weight_gradient"):
        setattr(double_backward, name, watch.around(getattr(double_backward, name), kind="convolution"))
    for function, names in ((double_backward._BatchNorm, ("forward",)), (double_backward._BatchNormGradient, ("forward", "backward"))):
        for name in names:
            setattr(function, name, staticmethod(watch.around(getattr(function, name), kind="BatchNorm")))


def measure(rounds: int) -> dict:
    """The parts of the fastest iteration, in the fastest plain step: whatever else the machine does only adds to both."""
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(Path(folder))
        batch, learner, plain = make_batch(task, BATCH), make_learner(task, {}), make_plain(task)
        units, iterations = [], []
        instrument(watch := Stopwatch())
        for _ in range(rounds + 1):
            units += [seconds(plain, batch) for _ in range(3)]
            watch.restart()
            learner.step(batch, 0.1)
            iterations.append(watch.restart())
    unit, parts = min(units), min(iterations[1:], key=lambda parts: sum(parts.values()))
    return {
        "plain_seconds": unit,
        "rounds": rounds,
        "parts": {stage: {kind: parts.get((stage, kind), 0.0) / unit for kind in KINDS} for stage in STAGES},
    }


def markdown(results: dict) -> str:
    total = sum(sum(kinds.values()) for kinds in results["parts"].values())
    lines = [
        f"One exact iteration is {total:.1f} plain steps of {results['plain_seconds']:.2f} s; each part in plain steps.\n",
        "| part | convolution | BatchNorm | other | together | share |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for stage, kinds in results["parts"].items():
        split = stage.startswith(("virtual", "meta"))
        shown = " | ".join(f"{kinds[kind]:.2f}" if split else "" for kind in KINDS)
        together = sum(kinds.values())
        lines.append(f"| {stage} | {shown} | {together:.2f} | {together / total:.0%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = measure(arguments.rounds)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "l2t_profile.json").write_text(json.dumps(results, indent=1))
    (RESULTS / "l2t_profile.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
