"""What an engine costs beside the trainings that it hands out.

Command:   python benchmarks/engines.py [--workers 2]      (about two minutes on two cores; ray is left out where it is not installed)
Writes:    benchmarks/results/engines.json
Setting:   an engine starts (its first jobs, libraries loaded in every worker); then small cells, linear probes of embedded models on an
           embedded task, whose features are known; one thread each, new seeds for every engine and round, engines interleaved.
           "overhead" of a cell is what a worker's time holds beside what the cells' own records count, locks and folders included:
           (workers x wall - sum of the records' seconds) / cells. "job" is a job that does nothing.
Expected:  starting: joblib the import of torch (seconds), Ray as well, and its cluster; a warm job some milliseconds; a warm cell well
           below a second with any engine, against trainings of seconds to hours.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import hubtune as ht
from hubtune.engines import Engine, OneProcess, RayCluster, SideBySide
from hubtune.training.method import Cell
from hubtune.training.runtime import Runtime
from hubtune.workflow.running import CellRunner

RESULTS = Path(__file__).parent / "results"
MODELS = 4


def job_seconds(engine: Engine, jobs: int) -> float:
    started = time.perf_counter()
    list(engine.do(abs, range(jobs), threads=1))
    return (time.perf_counter() - started) / jobs


def cells_of(hub: ht.Hub, task: ht.Task, seed: int) -> list[tuple[Cell, list]]:
    options: dict[str, Any] = {"method": ht.LinearProbe(), "input_size": None, "task": task.fingerprint, "seed": seed}
    return [(Cell(models=(name,), fingerprints=(hub.fingerprint(name),), **options), []) for name in hub.names]


def cell_seconds(engine: Engine, workers: int, hub: ht.Hub, task: ht.Task, seed: int) -> tuple[float, float]:
    """Of a cell: overhead, and what its record counts."""
    runner = CellRunner(root=Path(os.environ["HUBTUNE_RUNS"]), runtime=Runtime(device_name="cpu"), engine=engine)
    started = time.perf_counter()
    outcomes = runner.run(cells_of(hub, task, seed), hub, task)
    wall = time.perf_counter() - started
    own = sum(outcome.record["seconds"] for outcome in outcomes.values())  # pyright: ignore
    return (workers * wall - own) / len(outcomes), own / len(outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    engines: dict[str, tuple[Engine, int]] = {
        "one-process": (OneProcess(), 1),
        "joblib": (SideBySide(workers=arguments.workers), arguments.workers),
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HUBTUNE_CACHE": f"{folder}/cache", "HUBTUNE_RUNS": f"{folder}/runs", "OMP_NUM_THREADS": "1"}
        rows: dict[str, dict[str, float]] = {}
        try:
            import ray

            started = time.perf_counter()
            ray.init(num_cpus=arguments.workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            rows["ray"] = {"cluster_seconds": time.perf_counter() - started}
            engines["ray"] = (RayCluster(), arguments.workers)
        except ImportError:
            print("ray is not installed: left out")
        hub = ht.Hub.open("demo")
        hub = hub.subset(hub.names[:MODELS])
        task = ht.Task.open("demo:digits").take(train=100, val=50, test=50)
        measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in engines}
        for number, (name, (engine, workers)) in enumerate(engines.items()):
            started = time.perf_counter()
            cell_seconds(engine, workers, hub, task, seed=number)
            rows.setdefault(name, {})["first_cells_seconds"] = time.perf_counter() - started
        for turn in range(1, arguments.rounds + 1):
            for number, (name, (engine, workers)) in enumerate(engines.items()):
                overhead, own = cell_seconds(engine, workers, hub, task, seed=100 * turn + number)
                measured[name].append((job_seconds(engine, 20), overhead, own))
        for name, values in measured.items():
            for column, found in zip(("job_seconds", "cell_overhead_seconds", "cell_own_seconds"), zip(*values, strict=True), strict=True):
                rows[name][column] = statistics.median(found)
    for name, row in rows.items():
        print(f"{name:12}", "  ".join(f"{column} {value:.3f}" for column, value in row.items()))
    result = {"workers": arguments.workers, "cells": MODELS, "rounds": arguments.rounds, "engines": rows}
    (RESULTS / "engines.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
