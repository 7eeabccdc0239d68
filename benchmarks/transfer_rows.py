"""What the tables of transfer methods share: rows that are computed once, and kept as soon as they are known."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import hubtune as ht
from hubtune.workflow.paired import paired_difference

RESULTS = Path(__file__).parent / "results"
SWEPT = ("weights", "learning_rates", "beta", "meta_learning_rate")
"""Fields of which a row says the chosen value."""
Row = dict[str, Any]


def complete(path: Path, wanted: Iterable[Row], compute: Callable[[Row], Row], markdown: Callable[[list[Row]], str]) -> list[Row]:
    """Compute the rows that the file lacks, and write it, and a table beside it, after each.

    Args:
        path: a .json file.
        wanted: what decides a row.
        compute: from that to what was found.
        markdown: the table of all rows.

    Returns:
        All rows of the file, those of earlier calls with other settings too.
    """
    path.parent.mkdir(exist_ok=True)
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    for asked in wanted:
        if not any(asked.items() <= row.items() for row in rows):
            rows.append(asked | compute(asked))
            print(json.dumps(rows[-1]), flush=True)
            path.write_text(json.dumps(rows, indent=1) + "\n")
            path.with_suffix(".md").write_text(markdown(rows))
    return rows


def tuned(task: ht.Task, hub: ht.Hub, method: Any, seed: int, **options: Any) -> Row:
    """One training: accuracies, seconds on the clock, and seconds of the processor as far as this process had to train."""
    before = os.times()
    run = ht.tune(task, hub, method, seed=seed, workers=1, **options)
    after = os.times()
    chosen = next(cell for cell in run.record["cells"] if cell["chosen"])
    swept = {
        name: chosen["config"][name] for name in ("weights", "learning_rates", "beta", "meta_learning_rate") if name in chosen["config"]
    }
    return {
        "test_accuracy": run.metrics["test_accuracy"],
        "val_accuracy": run.metrics["val_accuracy"],
        "seconds": chosen["seconds"],
        "cpu_seconds": round(after.user - before.user + after.system - before.system, 1),
        "chosen": swept,
        "run": run.path.name,
    }


def accuracy(rows: Iterable[Row]) -> str:
    """Mean and standard deviation over seeds, per cent, with the number of seeds."""
    found = [100 * row["test_accuracy"] for row in rows]
    if not found:
        return ""
    return f"{mean(found):.1f}{f' ± {stdev(found):.1f}' if len(found) > 1 else ''} ({len(found)})"


def advantage(rows: Iterable[Row], reference: Iterable[Row]) -> str:
    """Mean difference in points over the seeds that both have, with its 95 % interval (Student's t)."""
    theirs = {row["seed"]: row["test_accuracy"] for row in reference}
    pairs = [(row["test_accuracy"], theirs[row["seed"]]) for row in rows if row["seed"] in theirs]
    if not pairs:
        return ""
    own, other = (100 * np.array(values)[:, None] for values in zip(*pairs, strict=True))
    found = paired_difference(own, other)
    return f"{found.mean:+.1f}" + (f" ({found.low:+.1f} to {found.high:+.1f})" if found.low is not None else "")
