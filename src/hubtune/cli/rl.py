"""``hubtune rl``: policies that play, learnt from nothing or from policies of other games."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hubtune.cli.options import Device, Json, Seed, command_line, print_json, progress, settings

if TYPE_CHECKING:
    from hubtune.rl import PolicyMethod, PolicyRun, SourcePolicy

Game = Annotated[str, typer.Argument(help="An Atari game such as Gopher, or my.module:World.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="A field of the method, see `hubtune rl methods NAME`: NAME=VALUE; may be repeated.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Agent steps; by default 100,000.")]
Seeds = Annotated[int, typer.Option(min=1, help="Trainings of each method, from --seed on; curves show their spread.")]
Out = Annotated[Path | None, typer.Option(help="The run's folder; by default one under HUBTUNE_RUNS.")]
TimeLimit = Annotated[float | None, typer.Option(min=1, help="Seconds after which no further step is made; the same command goes on.")]

GROUP_KEYS = ("label", "seeds", "scores", "mean", "spread", "human_normalised")

app = typer.Typer(name="rl", help="Policies that play: train, transfer from a hub of them, play.", no_args_is_help=True)


def train(
    game: Game,
    steps: Steps = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    set_: Set = None,
    out: Out = None,
    device: Device = None,
    time_limit: TimeLimit = None,
    as_json: Json = False,
) -> None:
    """Learn a game from nothing, by Data-Efficient Rainbow."""
    _learn(game, "scratch", [], steps, seed, seeds, set_, out, device, time_limit, as_json)


def transfer(
    game: Game,
    sources: Annotated[
        list[Path] | None, typer.Option("--from", help="A run, or a folder of policies, to start from; may be repeated.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="fine-tune, hub-pathway, knowledge-flow, zoo-tuning, scratch; several are separated by commas.")
    ] = "hub-pathway",
    steps: Steps = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    set_: Set = None,
    out: Out = None,
    device: Device = None,
    time_limit: TimeLimit = None,
    as_json: Json = False,
) -> None:
    """Learn a game from policies of other games; of several methods and sources the best policy is kept."""
    _learn(game, method, sources or [], steps, seed, seeds, set_, out, device, time_limit, as_json)


def play(
    game: Game,
    policy: Annotated[Path, typer.Option(help="A run, or the folder of a policy.")],
    episodes: Annotated[int, typer.Option(min=1, help="Games.")] = 10,
    seed: Seed = 0,
    video: Annotated[Path | None, typer.Option(help="Write the first game as an animation (GIF).")] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Let a policy play a game, and print its scores."""
    from hubtune.rl import play_games

    played = play_games(policy, game, episodes=episodes, seed=seed, video=video, device=device)
    if as_json:
        print_json(played)
        return
    for place, each in enumerate(played["episodes"], start=1):
        cut = ", ended by the limit of time" if each["cut"] else ""
        print(f"game {place}: score {each['score']:.0f} in {each['steps']} steps{cut}")
    normalised = played["human_normalised"]
    print(f"mean score {played['score']:.1f}" + ("" if normalised is None else f", human-normalised {100 * normalised:.1f} %"))
    if video is not None:
        print(f"video: {video}")


COMMANDS = (train, transfer, play)


def _learn(
    game: str,
    names: str,
    places: list[Path],
    steps: int | None,
    seed: int,
    seeds: int,
    set_: list[str] | None,
    out: Path | None,
    device: str | None,
    time_limit: float | None,
    as_json: bool,
) -> None:
    from hubtune.rl import learn, open_policies

    methods = _methods(names, settings(set_ or []) | ({} if steps is None else {"steps": str(steps)}))
    sources: list[SourcePolicy] = open_policies(places) if any(method.fewest for method in methods) else []
    with progress() as listen:
        run = learn(
            game,
            methods,
            sources,
            seeds=range(seed, seed + seeds),
            out=out,
            device=device,
            time_limit=time_limit,
            request={"seed": seed, "command": command_line()},
            on_event=listen,
        )
    if as_json:
        print_json(_as_json(run))
        return
    _print(run)


def _methods(names: str, config: dict[str, str]) -> "list[PolicyMethod]":
    """Methods by their names; where there are several, each takes the fields that it has, and one of them must."""
    from hubtune.errors import unknown_name
    from hubtune.rl import METHODS, policy_method

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    fields = {name: {field.name for field in dataclasses.fields(METHODS[name])} for name in wanted if name in METHODS}
    if len(fields) > 1:
        known = set().union(*fields.values())
        for key in config:
            if key not in known:
                raise unknown_name(f"field of {names}", key, known)
        return [policy_method(name, {key: value for key, value in config.items() if key in fields.get(name, ())}) for name in wanted]
    return [policy_method(name, config) for name in wanted]


def _as_json(run: "PolicyRun") -> dict[str, Any]:
    play = run.record["play"]
    return {
        "path": str(run.path),
        "metrics": run.metrics,
        "chosen": run.record["chosen"],
        "methods": [{key: group[key] for key in GROUP_KEYS} for group in play["groups"]],
        "steps_per_second": play["steps_per_second"],
        "seconds": run.record["seconds"],
        "warnings": run.record["warnings"],
    }


def _print(run: "PolicyRun") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", overflow="fold")
    for column in ("score", "human-normalised", "seeds"):
        table.add_column(column, justify="right")
    for group in run.record["play"]["groups"]:
        normalised = group["human_normalised"]
        spread = f" ± {group['spread']:.1f}" if len(group["seeds"]) > 1 else ""
        share = "" if normalised is None else f"{100 * normalised:.1f} %"
        table.add_row(group["label"], f"{group['mean']:.1f}{spread}", share, str(len(group["seeds"])))
    Console(markup=False).print(table)
    print(f"{run.record['play']['steps_per_second']:.1f} agent steps a second")
    print(f"run:    {run.path}\npolicy: {run.path / 'model'}\nvideo:  {run.path / 'episode.gif'}\nreport: {run.path / 'report.html'}")
