"""The command line: only parses, calls and prints."""

import functools
import io
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from hubtune.cli import cache, compare, demo, methods, models, predict, regret, report, rl, runs, search, tune
from hubtune.errors import HubTuneError

app = typer.Typer(
    name="hubtune",
    help="Transfer learning from many pre-trained models: which model, what and where, which path.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which Ctrl-C ends with one message and exit code 130."""

    @functools.wraps(command)
    def run(*arguments, **options) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            print("\nhubtune: interrupted; the same command goes on from where it stopped", file=sys.stderr)
            sys.exit(130)

    return run


COMMANDS = (
    demo.demo,
    models.models,
    methods.methods,
    methods.strategies,
    search.search,
    tune.tune,
    compare.compare,
    predict.predict,
    report.report,
    regret.regret,
    runs.runs,
    cache.cache,
)
for command in COMMANDS:
    app.command()(interruptible(command))
for command in rl.COMMANDS:
    rl.app.command()(interruptible(command))
rl.app.command(name="methods")(interruptible(methods.policy_methods))
app.add_typer(rl.app)


def main() -> None:
    """Run a command. A user's mistake ends in one message and exit code 2."""
    # Classes of one's own, as my.module:Thing, are looked for in the current folder too, as by ``python -m``.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no text
    try:
        app()
    except HubTuneError as error:
        print(f"hubtune: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)
