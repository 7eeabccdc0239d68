"""Options that several commands share, and what they stand for. Nothing here imports torch before a command runs."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hubtune.errors import ConfigurationError

if TYPE_CHECKING:
    from hubtune.hub import Hub
    from hubtune.runs import Event, Listener
    from hubtune.tasks import Task

Data = Annotated[
    str,
    typer.Argument(
        help="A folder of images (a class a subfolder), a folder of parquet files, an .npz, demo:NAME, hf:..., torchvision:..., "
        "vtab:NAME@FOLDER."
    ),
]
HubSpec = Annotated[
    str, typer.Option("--hub", help="demo, a folder of models, timm, timm:PATTERN, torchvision, hf:ORG/NAME, paper:homogeneous.")
]
Where = Annotated[
    str | None,
    typer.Option("--where", help="SQL over the models' cards, such as \"params < 5e6 and license like 'apache%'\" or pool:ResNet-50."),
]
Models = Annotated[str | None, typer.Option("--models", help="Names of models of the hub, separated by commas.")]
Strategy = Annotated[
    str,
    typer.Option(
        help="auto (hybrid-linear, of points few-steps), task-agnostic, linear, knn, logme or any proxy, hybrid-linear or any, "
        "meta-learned, mean-rank, successive-halving, few-steps, random; "
        "see `hubtune strategies`."
    ),
]
StrategySet = Annotated[
    list[str] | None, typer.Option("--strategy-set", help="A field of the strategy: NAME=VALUE, such as proxies=none; may be repeated.")
]
Past = Annotated[
    str, typer.Option(help="Past runs that accuracies are predicted from: auto (yours and the package's), none, a CSV or parquet file.")
]
InputSize = Annotated[
    int | None, typer.Option("--input-size", min=8, help="Largest side in pixels: models made for larger images see them at this size.")
]
Seed = Annotated[int, typer.Option(help="Decides every random draw.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else on standard output.")]
Augmentation = Annotated[
    str | None,
    typer.Option(help="none, flip, crop, crop+flip; of points none, flip, turn, turn+flip. By default the task's own, of classes none."),
]
Train = Annotated[int | None, typer.Option("--train", min=1, help="Use only the first so many training images.")]
Test = Annotated[int | None, typer.Option("--test", min=1, help="Use only the first so many test images.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")]

EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="one-process, joblib, ray, ray://HOST:PORT; by default this process searches, and trainings run side by side on a CPU.",
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes side by side on a CPU; by default one a core.")]
GpusPerWorker = Annotated[float, typer.Option("--gpus-per-worker", min=0, help="GPUs for each job of a Ray cluster, such as 1 or 0.5.")]


def is_main_process() -> bool:
    """Whether this process is the one that speaks, where torchrun started several."""
    return os.environ.get("RANK", "0") == "0"


def open_hub(spec: str, where: str | None = None, models: str | None = None) -> "Hub":
    """The hub that --hub, --where and --models describe."""
    from hubtune.hub import Hub

    hub = Hub.open(spec)
    if where:
        hub = hub.where(where)
    if models:
        hub = hub.subset([name.strip() for name in models.split(",") if name.strip()])
    if len(hub) == 0:
        raise ConfigurationError(f"no model of {spec} is left after --where {where!r}; expected at least one: loosen the condition")
    return hub


def tell(notes: Iterable[str]) -> None:
    """Print notes on standard error."""
    if is_main_process():
        for note in notes:
            print(f"note: {note}", file=sys.stderr)


def open_task(data: str, augmentation: str | None = None, train: int | None = None, test: int | None = None) -> "Task":
    """The task that DATA, --augmentation, --train and --test describe."""
    from hubtune.tasks import Task

    options = {} if augmentation is None else {"augmentation": augmentation}
    return Task.open(data, **options).take(train=train, test=test)


def settings(pairs: list[str], option: str = "--set") -> dict[str, str]:
    """``["top_k=2", ...]`` as a dictionary.

    Raises:
        ConfigurationError: a pair without an equals sign.
    """
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise ConfigurationError(f"{option} {wrong[0]!r} has no value; expected NAME=VALUE, such as {option} steps=600")
    return {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in pairs)}


def chosen_strategy(name: str, pairs: list[str] | None) -> Any:
    """The strategy that --strategy and --strategy-set ask for, before anything else is opened; "auto" waits for the task.

    Raises:
        HubTuneError: no such strategy or field.
    """
    from hubtune.selection import AUTO, strategy_named

    if name == AUTO and pairs:
        raise ConfigurationError(
            f"--strategy-set {pairs[0]!r} was given without a strategy; expected its name too, such as --strategy few-steps"
        )
    return name if name == AUTO else strategy_named(name, settings(pairs or [], "--strategy-set"))


def command_line() -> str:
    """What was typed, for the record."""
    return shlex.join(["hubtune", *sys.argv[1:]])


def print_json(value: Any) -> None:
    """One JSON value on standard output; NaN and infinities become null."""
    from hubtune.runs import plain

    print(json.dumps(plain(value), indent=1, ensure_ascii=False))


@contextlib.contextmanager
def progress() -> Iterator["Listener"]:
    """A listener that shows bars with an estimate on standard error, and notes above them."""
    if not is_main_process():
        yield lambda event: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    names = {"search": "scoring models", "train": "training"}
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as bars:
        known: dict[str, Any] = {}

        def listen(event: "Event") -> None:
            if not event.total:
                console.print(f"note: {event.detail}", highlight=False, markup=False, style="yellow")
                return
            if event.stage not in known:
                known[event.stage] = bars.add_task(names.get(event.stage, str(event.stage)), total=event.total, detail="")
            bars.update(known[event.stage], completed=event.done, total=event.total, detail=event.detail)

        yield listen
