"""Kill -9 in the middle of a tune, three times, and the same command again: identical metrics, and only what was lost done again.

Command:   python benchmarks/kill_and_resume.py          (two minutes on two cores)
Writes:    benchmarks/results/kill_and_resume.json
Setting:   `hubtune tune demo:shapes --budget 2 --strategy hybrid-knn --set steps=60` in folders of its own; the process group is killed
           while features are extracted, in the middle of the first trainings, and once a training is finished; then the command
           runs to its end.
Expected:  picks and metrics equal those of an undisturbed run, to the last bit.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
TUNE = "tune demo:shapes --budget 2 --strategy hybrid-knn --set steps=60 --json"
COMMAND = [sys.executable, "-m", "hubtune", *TUNE.split()]


def start(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "HUBTUNE_RUNS": str(folder / "runs"), "HUBTUNE_CACHE": str(folder / "cache")}
    return subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)


def extracting(folder: Path) -> bool:
    return len(list((folder / "cache").glob("features/*/*.safetensors"))) >= 9


def training(folder: Path) -> bool:
    return any(json.loads(path.read_text() or "{}").get("step", 0) >= 20 for path in folder.glob("runs/cells/.*/progress.json"))


def finished_one(folder: Path) -> bool:
    return bool(list(folder.glob("runs/cells/[0-9a-f]*/record.json")))


def killed_when(moment: Callable[[Path], bool], folder: Path) -> bool:
    """Kill the tune at a moment; false where it ended before."""
    process = start(folder)
    while process.poll() is None:
        try:
            if moment(folder):
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return True
        except (OSError, ValueError):
            pass  # a file that is just being written
        time.sleep(0.05)
    return False


def outcome(folder: Path) -> tuple[dict, float]:
    """Picks and metrics of a tune that runs to its end, and its seconds."""
    started = time.monotonic()
    out, _ = start(folder).communicate()
    result = json.loads(out)
    record = json.loads((Path(result["path"]) / "record.json").read_text())
    cells = {cell["models"][0]: cell["metrics"] for cell in record["cells"]}
    return {"picks": record["search"]["picks"], "metrics": result["metrics"], "cells": cells}, time.monotonic() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected, seconds = outcome(Path(folder))
    print(f"undisturbed: {seconds:.0f} s, test accuracy {expected['metrics']['test_accuracy']:.4f}", flush=True)
    rows = []
    for moment in (extracting, training, finished_one):
        with tempfile.TemporaryDirectory() as folder:
            killed = killed_when(moment, Path(folder))
            found, again = outcome(Path(folder))
        rows.append({"killed while": moment.__name__, "was killed": killed, "identical": found == expected, "seconds again": again})
        print(rows[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kill_and_resume.json").write_text(json.dumps({"undisturbed seconds": seconds, "rows": rows}, indent=1))
    if not all(row["identical"] and row["was killed"] for row in rows):
        raise SystemExit("a repeat differs from the undisturbed run, or the kill came too late")


if __name__ == "__main__":
    main()
