"""How many agent steps a second Data-Efficient Rainbow makes, against what its bare parts would allow.

Command:   python benchmarks/rl_speed.py [--game Gopher] [--steps 200] [--threads 1]      (needs the extra rl)
Writes:    benchmarks/results/rl_speed.json
Method:    In one process, by turns: four screens of the emulator and the resize of one; one action of a plain network; one step of learning
           of the same network on a batch that is already there (three forward passes, a backward pass, Adam); and one agent step of the
           learner, which does all of it and remembers, draws, projects and keeps priorities besides. Medians over the turns.
Expected:  A ratio of at least 0.9: at least 55 agent steps a second where the bare parts (0.6, 1.2 and 14 ms) would allow about 60.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from hubtune.nets import DuelingHead, draw_noise
from hubtune.rl import Scratch, world_named
from hubtune.rl.learner import RainbowLearner
from hubtune.rl.running import EMPTY

OUT = Path(__file__).parent / "results" / "rl_speed.json"


class Plain(nn.Module):
    """The network with nothing around it."""

    def __init__(self, actions: int):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(4, 32, 5, 5), nn.ReLU(), nn.Conv2d(32, 64, 5, 5), nn.ReLU(), nn.Flatten())
        self.head = DuelingHead(576, actions)

    def forward(self, canvas: Tensor) -> Tensor:
        return self.head(self.trunk(canvas.float().div_(255)))


def parts(game: str) -> dict[str, Callable[[], None]]:
    """The bare parts and the whole, each a function that does it once."""
    method = Scratch()
    make_world = world_named(game, method)
    world, bare = make_world(), make_world()
    start = method.start([], world.actions)
    learner = RainbowLearner(start.policy, start.objective, method, world, seed=0, device=torch.device("cpu"))
    for step in range(method.learn_from):
        torch.manual_seed(step)
        learner.step(EMPTY, 0.0)
    network, target = Plain(len(world.actions)).train(), Plain(len(world.actions)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, eps=1.5e-4)
    batch = learner.replay.draw(32, 0.4, torch.device("cpu"))
    wanted = torch.randn(32, 51).softmax(1)
    atoms = torch.linspace(-10, 10, 51)
    environment = bare._environment  # pyright: ignore[reportAttributeAccessIssue]
    environment.reset(seed=0)
    chance = np.random.default_rng(0)

    def play() -> None:
        action = int(chance.integers(len(world.actions)))
        for _ in range(4):
            screen, _, over, _, _ = environment.step(action)
            if over:
                environment.reset()
        np.asarray(Image.fromarray(screen).resize((84, 84), Image.Resampling.BOX))

    @torch.no_grad()
    def act() -> None:
        draw_noise(network)
        (network(batch.canvas[:1]).softmax(1) * atoms[:, None]).sum(1).argmax(1).item()

    def learn() -> None:
        with torch.no_grad():
            network(batch.later).softmax(1)
            target(batch.later).softmax(1)
        logits = network(batch.canvas)[torch.arange(32), :, batch.targets]
        optimizer.zero_grad(set_to_none=True)
        (-(wanted * F.log_softmax(logits, 1)).sum(1)).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()

    def whole() -> None:
        learner.step(EMPTY, 0.0)

    return {"environment": play, "action": act, "learning": learn, "agent step": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="Gopher")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    functions = parts(arguments.game)
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(arguments.steps + 10):
        for name, function in functions.items():
            started = time.process_time()
            function()
            if turn >= 10:
                times[name].append(1000 * (time.process_time() - started))
    milliseconds = {name: round(median(values), 3) for name, values in times.items()}
    bare = sum(value for name, value in milliseconds.items() if name != "agent step")
    whole = milliseconds["agent step"]
    result = {
        "game": arguments.game,
        "threads": arguments.threads,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "milliseconds of CPU": milliseconds,
        "steps a second": round(1000 / whole, 1),
        "steps a second that the parts allow": round(1000 / bare, 1),
        "ratio": round(bare / whole, 3),
    }
    print(json.dumps(result, indent=1))
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
