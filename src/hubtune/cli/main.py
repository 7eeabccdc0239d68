"""The command line: only parses, calls and prints."""

import sys

import typer

from hubtune.cli import cache, demo, models, predict, report, runs, search, tune
from hubtune.errors import HubTuneError

app = typer.Typer(
    name="hubtune",
    help="Transfer learning from many pre-trained models: which model, what and where, which path.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo.demo, models.models, search.search, tune.tune, predict.predict, report.report, runs.runs, cache.cache):
    app.command()(command)


def main() -> None:
    """Run a command. A user's mistake ends in one message and exit code 2; Ctrl-C in exit code 130."""
    try:
        app()
    except HubTuneError as error:
        print(f"hubtune: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nhubtune: interrupted; the same command goes on from where it stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
