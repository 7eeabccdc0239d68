"""What each proxy costs for one model, and all closed-form ones together.

Command:   python benchmarks/proxy_speed.py                     (half a minute; --rounds 9 by default; --slow adds those that iterate)
Writes:    benchmarks/results/proxy_speed.json
Setting:   N = 1000 images, D = 2048, 100 classes, 1000 source classes, 1000 validation images for kNN, float32 features, two threads.
Measured:  processor time, the median over rounds; the proxies take turns within a round. "alone" starts from plain tensors, "together" from
           one prepared value for all.
Expected:  seconds of two CPU cores, alone: at most those in EXPECTED; the nine closed-form ones at most 1.0 together (measured on two busy
           cores of an EPYC, Zen 4: LogME 0.17, H-score 0.10, regularised 0.12, leave-one-out ridge 0.18, together 0.67). Published code:
           LogME 0.39 (its authors') and 44 (tllib), H-score 27, regularised 27, TransRate 39 (tllib), LEEP 0.006, NCE 0.0006.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch

from hubtune.proxies import PROXIES, ProxyInputs, evaluate

COUNT, DIM, CLASSES, SOURCES = 1000, 2048, 100, 1000
EXPECTED = {"logme": 0.2, "h-score": 0.2, "h-score-regularized": 0.2, "loo-ridge": 0.2, "leep": 0.03, "nce": 0.02}
CLOSED = ("logme", "leep", "nce", "h-score", "h-score-regularized", "transrate", "gbc", "knn", "loo-ridge")
SLOW = ("msc", "parc", "nleep", "pactran")
RESULTS = Path(__file__).parent / "results"


def draw() -> dict[str, torch.Tensor]:
    """Features like those of a network, and probabilities like those of its head."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % CLASSES
    means = 0.3 * torch.randn(CLASSES, DIM, generator=generator)
    train, val = ((torch.randn(COUNT, DIM, generator=generator) + means[labels]).relu() for _ in range(2))
    probs = (3 * torch.randn(COUNT, SOURCES, generator=generator)).softmax(1)
    return {"train_features": train, "train_labels": labels, "val_features": val, "val_labels": labels, "source_probs": probs}


def cost(names: tuple[str, ...], arguments: dict[str, torch.Tensor]) -> float:
    """Processor seconds of some proxies on one prepared value, its preparation included."""
    began = time.process_time()
    inputs = ProxyInputs(**arguments)
    for name in names:
        evaluate(name, inputs)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slow", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(2)
    arguments = draw()
    cases = {name: (name,) for name in CLOSED + (SLOW if options.slow else ())} | {"together": CLOSED}
    seconds = {case: [] for case in cases}
    for names in cases.values():
        cost(names, arguments)
    for _ in range(options.rounds):
        for case, names in cases.items():
            seconds[case].append(cost(names, arguments))
    results = {"rounds": options.rounds, "threads": 2, "seconds": {}}
    for case, values in seconds.items():
        expected = 1.0 if case == "together" else EXPECTED.get(case)
        results["seconds"][case] = {"median": round(median(values), 4), "least": round(min(values), 4), "expected_at_most": expected}
        meaning = PROXIES[case].meaning if case in PROXIES else "all closed-form ones, one prepared value"
        print(f"{case:20} {median(values):7.4f} s (expected at most {expected or '-'}): {meaning}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "proxy_speed.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
