"""``hubtune predict``: what a run's model says of images."""

from pathlib import Path
from typing import Annotated

import typer

from hubtune.cli.options import Json, print_json
from hubtune.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="Most probable classes to show.")] = 1,
    max_resident: Annotated[
        int | None, typer.Option("--max-resident", min=1, help="Models of a routed hub in memory at once; by default all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict the classes of images with the model of a run."""
    from hubtune.workflow import load

    model = load(run, max_resident=max_resident)
    paths = [path for given in images for path in _files(given)]
    prediction = model.predict(paths)
    rows = []
    for i, path in enumerate(paths):
        order = prediction.probabilities[i].argsort()[::-1][:top]
        row = {
            "image": str(path),
            "label": prediction.labels[i],
            "probabilities": {model.class_names[c]: float(prediction.probabilities[i, c]) for c in order},
        }
        if prediction.path is not None:
            row["path"] = dict(zip(prediction.models, prediction.path[i].tolist(), strict=True))
        rows.append(row)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        shown = "  ".join(f"{name} {100 * value:.1f} %" for name, value in row["probabilities"].items())
        print(f"{row['image']}  {shown}{_path(row['path']) if 'path' in row else ''}")


def _path(weights: dict[str, float]) -> str:
    """The models on an image's path with their weights, the largest first."""
    active = sorted((name for name in weights if weights[name]), key=lambda name: -weights[name])
    return "  path " + ", ".join(f"{name} {weights[name]:.2f}" for name in active)


def _files(given: Path) -> list[Path]:
    if not given.is_dir():
        return [given]
    found = sorted(path for path in given.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{given} holds no image files; expected some of {', '.join(sorted(SUFFIXES))}")
    return found
