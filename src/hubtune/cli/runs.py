"""``hubtune runs``: what was done."""

from hubtune.cli.options import Json, print_json


def runs(as_json: Json = False) -> None:
    """List the runs under HUBTUNE_RUNS, newest first."""
    from hubtune.runs import list_runs, runs_folder

    found = list_runs(runs_folder())
    if as_json:
        print_json(found)
        return
    from hubtune.cli.tables import print_table

    columns = {
        "run": [row["name"] for row in found],
        "made": [row["created"] for row in found],
        "task": [row["task"] for row in found],
        "method": [row["method"] for row in found],
        "models": [", ".join(row["models"]) for row in found],
        "test accuracy": [_percent(row["metrics"].get("test_accuracy")) for row in found],
    }
    texts = ("made", "task", "method", "models")
    print_table(columns, title=f"{len(found)} runs in {runs_folder()}", right=("test accuracy",), texts=texts, least=("made", "task"))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
