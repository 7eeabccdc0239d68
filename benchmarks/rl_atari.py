"""Transfer from policies of other games to a new one within 100,000 agent steps: Figure 2 of the Hub-Pathway paper.

Command:   python benchmarks/rl_atari.py [--sources Seaquest,Riverraid] [--source-steps 400000] [--games Gopher,Alien] [--steps 100000]
                                         [--seeds 2] [--methods scratch,fine-tune,knowledge-flow,zoo-tuning,hub-pathway] [--hours 8]
           python benchmarks/rl_atari.py --sources Seaquest,Riverraid,Alien:100000 --games Gopher --methods hub-pathway
           python benchmarks/rl_atari.py --source-steps 60 --steps 60 --seeds 1 --games Gopher --quick --name smoke     (two minutes)
           Needs the extra rl. An interrupted run goes on where it stopped, to the agent step; what is finished is not done again. It can
           be shared: start it twice with other --games, once the source policies are there.
Writes:    benchmarks/results/rl_atari.json (a row a training, as soon as it is finished) and .md, and a page for each game among the runs
Source:    Shu et al. (2022), Figure 2: mean and variance over five seeds, sources Seaquest and Riverraid, k = 2.
Setting:   Data-Efficient Rainbow with the settings of ``hubtune.rl.DataEfficientRainbow``. Source policies are trained from scratch with
           seed 0. Of the sources' heads the hidden layers are kept. With two sources and k = 2 every path is active, as in the paper; three
           sources make the routing real; the third may be a policy learnt from scratch in the comparison on another game, which is not
           trained again. A policy's score is the mean of 100 games; "random" is a player of uniformly random actions.
Differs:   the paper's sources are optimal policies, ours what 400,000 steps make of them (their scores are among the rows); it has five
           seeds and three games. Zoo-tuning and knowledge-flow take the convolutions of all sources and the head of the first one.
Cost:      on one CPU core 36 minutes for 100,000 steps from scratch or from one policy, 1.6 times that for knowledge-flow, 1.5 for
           zoo-tuning, 2.3 for a hub of two; in all about 5 hours for the sources and 5 for each game and seed.
Expected:  hub-pathway at or above zoo-tuning and knowledge-flow, those above scratch; fine-tuning one policy no better than scratch. Two
           seeds do not settle an order.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from hubtune.errors import HubTuneError, TrainingError
from hubtune.rl import PolicyMethod, Scratch, evaluate, learn, open_policies, policy_method
from hubtune.rl.experiment import POINTS, game_curve, plan_trainings
from hubtune.rl.running import Training, finished, train_policy
from hubtune.rl.scores import human_normalised
from hubtune.rl.world import full_name, world_named
from hubtune.runs import lock, runs_folder, temporary_beside
from hubtune.training.cells import Work
from hubtune.training.loop import Diverged
from hubtune.training.runtime import Runtime

RESULTS = Path(__file__).parent / "results"
QUICK = {"learn_from": 30, "test_episodes": 1, "episode_frames": 400}
TEST_EPISODES = 100
CURVE_POINTS = 40
"""Points of a curve that a row keeps."""
QUARTERS = 4


class Results:
    """Rows in a JSON file, written whole whenever one is added; several processes may add to one file.

    A policy of the comparison may be another one's source as well: it stays in the comparison.
    """

    def __init__(self, path: Path):
        self._path = path

    def add(self, row: dict[str, Any]) -> None:
        with lock(runs_folder() / f".{self._path.name}"):
            rows = json.loads(self._path.read_text(encoding="utf-8"))["rows"] if self._path.exists() else []
            known = {old["id"]: old for old in rows}
            before = known.get(row["id"], row)
            known[row["id"]] = row | {"role": max(row["role"], before["role"])}  # "transfer" is after "source"
            temporary = temporary_beside(self._path)
            temporary.write_text(json.dumps({"torch": torch.__version__, "rows": [*known.values()]}, indent=1) + "\n", encoding="utf-8")
            temporary.replace(self._path)
            self._path.with_suffix(".md").write_text(table([*known.values()]), encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """Per game and method: the scores of the policies, their mean among people, and the learning curves on their way."""
    share = " | ".join(f"at {100 * quarter // QUARTERS} %" for quarter in range(1, QUARTERS + 1))
    lines = [
        "Scores: means of 100 games played by the last policy, one a seed. At a quarter, a half, ...: the mean score of the last ten",
        "games of the training by then, over the seeds.",
        "",
        f"| game | agent steps | method | scores | mean | % of a person | {share} | steps/s |",
        "| --- " * 6 + "| ---: " * (QUARTERS + 1) + "|",
    ]
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["role"] == "transfer", row["game"], row.get("steps", 0), row["label"]), []).append(row)
    for (_, game, steps, label), found in sorted(groups.items()):
        found.sort(key=lambda row: row.get("seed", 0))
        mean, normalised = fmean(row["score"] for row in found), [row["human_normalised"] for row in found]
        person = "" if None in normalised else f"{100 * fmean(normalised):.1f}"
        curve = [_at([row.get("curve", []) for row in found], quarter) for quarter in range(1, QUARTERS + 1)]
        speed = f"{fmean(row['steps_per_second'] for row in found):.1f}" if "steps_per_second" in found[0] else ""
        scores = ", ".join(f"{row['score']:.0f}" for row in found)
        lines.append(f"| {game} | {steps or ''} | {label} | {scores} | {mean:.0f} | {person} | {' | '.join(curve)} | {speed} |")
    return "\n".join(lines) + "\n"


def _at(curves: list[list[float | None]], quarter: int) -> str:
    """The mean over seeds after so many quarters of the training; nothing where no game was finished by then."""
    values = [curve[len(curve) * quarter // QUARTERS - 1] for curve in curves if curve]
    known = [value for value in values if value is not None]
    return f"{fmean(known):.0f}" if known else ""


def row_of(record: dict[str, Any], role: str) -> dict[str, Any]:
    """What is kept of a training."""
    steps = record["config"]["steps"]
    every = POINTS // CURVE_POINTS
    curve = game_curve(record["games"], steps)[every - 1 :: every]
    return {
        "id": record["id"],
        "role": role,
        "game": record["game"],
        "label": record["label"],
        "seed": record["seed"],
        "steps": steps,
        "score": record["metrics"]["test_score"],
        "human_normalised": record["metrics"].get("test_human_normalised"),
        "scores": [episode["score"] for episode in record["episodes"]],
        "evaluated": [[row["step"], row["val_score"]] for row in record["history"]],
        "curve": [None if value != value else round(value, 2) for value in curve],
        "steps_per_second": round(record["steps_per_second"], 1),
        "seconds": round(record["seconds"]),
        "notes": record["notes"],
        "environment": record["environment"],
    }


def work_until(deadline: float | None, training: Training) -> Work:
    """Where the training lies, and a line a minute on how far it is."""
    begun: list[tuple[float, int]] = []
    told = [0.0]

    def progress(step: int, steps: int, scalars: dict[str, float]) -> None:
        now = time.monotonic()
        if not begun:
            begun.append((now, step))
        if now - told[0] > 60 and step > begun[0][1]:
            told[0] = now
            speed = (step - begun[0][1]) / (now - begun[0][0])
            left = (steps - step) / speed / 60
            print(
                f"  {training.game} {training.label} seed {training.seed}: {step}/{steps}, {speed:.1f} steps/s, {left:.0f} min left",
                flush=True,
            )

    return Work(root=runs_folder(), runtime=Runtime(device_name="cpu"), deadline=deadline, checkpoint_seconds=120.0, on_progress=progress)


def do(training: Training, role: str, deadline: float | None, results: Results) -> Path:
    """Train, keep the row, and tell; the folder of the policy."""
    work = work_until(deadline, training)
    known = finished(training, work) is not None
    record = train_policy(training, work)
    row = row_of(record, role)
    results.add(row)
    normalised = row["human_normalised"]
    share = "" if normalised is None else f" ({100 * normalised:.1f} % of a person)"
    print(
        f"{row['game']} {row['label']} seed {row['seed']}: {row['score']:.1f}{share}, {row['steps_per_second']} steps/s"
        + (", known" if known else ""),
        flush=True,
    )
    return work.folder(training.cell)


def play_at_random(game: str, settings: Scratch, results: Results) -> None:
    """A row for a player of uniformly random actions, to compare with: the published random scores are of slower players."""
    make_world = world_named(game, settings)
    torch.manual_seed(0)
    policy = settings.start([], make_world().actions).policy
    always = replace(settings, evaluation_epsilon=1.0)
    played = evaluate(policy, make_world, always, episodes=settings.test_episodes, seed=0, device=torch.device("cpu"))
    scores = [episode.score for episode in played]
    found = {"id": f"random-{game}-{len(scores)}", "role": "random", "game": game, "label": "random"}
    results.add(found | {"score": fmean(scores), "human_normalised": human_normalised(game, fmean(scores)), "scores": scores})
    print(f"{game} random: {fmean(scores):.1f}", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", default="Seaquest,Riverraid", help="GAME or GAME:STEPS, separated by commas")
    parser.add_argument("--source-steps", type=int, default=400_000)
    parser.add_argument("--games", default="Gopher,Alien")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--methods", default="scratch,fine-tune,knowledge-flow,zoo-tuning,hub-pathway")
    parser.add_argument("--hours", type=float, help="after which no further step is made")
    parser.add_argument("--quick", action="store_true", help="short games and few evaluations, to see that it runs")
    parser.add_argument("--name", default="rl_atari", help="of the results' file")
    return parser.parse_args()


def source_of(text: str, steps: int, fields: dict[str, Any]) -> Training:
    """A source policy of "GAME" or "GAME:STEPS", trained from scratch with seed 0."""
    game, _, own = text.partition(":")
    return Training(game=full_name(game), method=Scratch(steps=int(own or steps), **fields))


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(1)
    deadline = None if arguments.hours is None else time.monotonic() + 3600 * arguments.hours
    results = Results(RESULTS / f"{arguments.name}.json")
    # The learning curve is that of the games of the training; an evaluation on the way is only a look.
    fields: dict[str, Any] = {"test_episodes": TEST_EPISODES, "evaluate_every": 50_000} | (QUICK if arguments.quick else {})
    try:
        wanted = [source_of(text, arguments.source_steps, fields) for text in names(arguments.sources)]
        folders = [do(training, "source", deadline, results) for training in wanted]
        sources = open_policies(folders)
        methods: list[PolicyMethod] = [policy_method(name, {"steps": arguments.steps, **fields}) for name in names(arguments.methods)]
        seeds = range(arguments.seeds)
        for game in names(arguments.games):
            play_at_random(game, Scratch(**fields), results)
            # All methods from one seed before the next one: an experiment that is cut short is a comparison all the same.
            for seed in seeds:
                for training in plan_trainings(game, methods, sources, [seed]):
                    try:
                        do(training, "transfer", deadline, results)
                    except Diverged as error:
                        print(f"{game} {training.label} seed {seed}: {error}", flush=True)
            run = learn(game, methods, sources, seeds=seeds, device="cpu")
            print(f"page of {game}: {run.path / 'report.html'}", flush=True)
    except TrainingError as error:
        print(f"stopped: {error}")
    except HubTuneError as error:
        raise SystemExit(f"rl_atari: {error}") from error


if __name__ == "__main__":
    main()
