"""Sizes of timm's networks, known without building them.

``timm_sizes.csv`` holds what ``Blueprint.measure`` counts for every pre-trained network of timm 1.0.31. To write it anew for another
version (about ten minutes): ``python -m hubtune.hub.timm_sizes``.
"""

import csv
import functools
import sys
from pathlib import Path

import timm
from timm.models import get_pretrained_cfg

from hubtune.errors import HubTuneError
from hubtune.hub.timm_backbone import Blueprint, Size

TABLE = Path(__file__).with_name("timm_sizes.csv")
_COLUMNS = ("architecture", "input_size", "params", "flops", "feature_dim", "has_head")


@functools.cache
def _table() -> dict[tuple[str, int], Size]:
    with TABLE.open(newline="") as file:
        return {
            (row["architecture"], int(row["input_size"])): Size(
                int(row["params"]), int(row["flops"]), int(row["feature_dim"]), row["has_head"] == "1"
            )
            for row in csv.DictReader(file)
        }


def size_of(architecture: str, input_size: int) -> Size | None:
    """From the table; None for a network or an input size that it does not hold."""
    return _table().get((architecture, input_size))


def write_table(path: Path = TABLE) -> None:
    """Count every pre-trained network of the installed timm; those that cannot be counted are left out and named."""
    rows = {}
    for name in timm.list_pretrained():
        cfg = get_pretrained_cfg(name)
        if cfg is None or (cfg.architecture, cfg.input_size[-1]) in rows:
            continue
        try:
            size = Blueprint(architecture=str(cfg.architecture), pretrained_cfg=cfg.to_dict(remove_source=True)).measure()
        except Exception as error:
            cause = error if isinstance(error, HubTuneError) else f"{type(error).__name__}: {error}"
            print(f"{name}: {str(cause)[:200]}", file=sys.stderr)
            continue
        rows[cfg.architecture, cfg.input_size[-1]] = (
            cfg.architecture,
            cfg.input_size[-1],
            size.params,
            size.flops,
            size.feature_dim,
            int(size.has_head),
        )
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *(rows[key] for key in sorted(rows))])


if __name__ == "__main__":
    write_table()
