"""``hubtune predict``: what a run's model says of images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hubtune.cli.options import Json, print_json, tell
from hubtune.errors import DataError, RunError

if TYPE_CHECKING:
    from PIL.Image import Image

    from hubtune.landmarks.model import LandmarkModel
    from hubtune.workflow import Model

BATCH = 64
"""Images that are read, then predicted together."""


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="Most probable classes to show.")] = 1,
    max_resident: Annotated[
        int | None, typer.Option("--max-resident", min=1, help="Models of a routed hub in memory at once; by default all.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for images with their points drawn, where the model finds points.")] = Path(),
    as_json: Json = False,
) -> None:
    """Predict with the model of a run: the classes of images, or where points lie in them."""
    from hubtune.workflow import Model, load

    model = load(run, max_resident=max_resident)
    paths = list(dict.fromkeys(path for given in images for path in _files(given)))
    if isinstance(model, Model):
        _classify(model, paths, top, as_json)
    else:
        _find_points(model, paths, out, as_json)


def _classify(model: "Model", paths: list[Path], top: int, as_json: bool) -> None:
    rows = []
    for read, prediction in _predictions(model, paths):
        for i, path in enumerate(read):
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


def _find_points(model: "LandmarkModel", paths: list[Path], out: Path, as_json: bool) -> None:
    """Say where the points are, and draw them."""
    from hubtune.landmarks.drawing import draw

    rows, pictures = [], set()
    for read, prediction in _predictions(model, paths):
        for i, (path, image) in enumerate(read.items()):
            picture, number = out / f"{path.stem}-points.png", 1
            while picture in pictures:
                number += 1
                picture = out / f"{path.stem}-points-{number}.png"
            pictures.add(picture)
            try:
                out.mkdir(parents=True, exist_ok=True)
                draw(image, prediction.points[i]).save(picture)
            except OSError as error:
                raise RunError(f"{picture} cannot be written ({error.strerror}); name another folder with --out") from error
            points = dict(zip(model.point_names, prediction.points[i].tolist(), strict=True))
            row = {"image": str(path), "points": points, "peaks": prediction.peaks[i].tolist(), "picture": str(picture)}
            if prediction.path is not None:
                row["path"] = dict(zip(prediction.models, prediction.path[i].tolist(), strict=True))
            rows.append(row)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['image']}  drawn on {row['picture']}{_path(row['path']) if 'path' in row else ''}")
        for name, (x, y) in row["points"].items():
            print(f"  {name}  {x:.1f} {y:.1f}")


def _predictions(model: "Model | LandmarkModel", paths: Sequence[Path]) -> Iterator[tuple["dict[Path, Image]", Any]]:
    """Images by their files, and what the model says of them, some at a time. Files that cannot be read are named and left out.

    Raises:
        DataError: none can be read.
    """
    from PIL import Image

    from hubtune.tasks.images import decode

    unreadable = []
    for start in range(0, len(paths), BATCH):
        read = {}
        for path in paths[start : start + BATCH]:
            try:
                read[path] = Image.fromarray(decode(path))
            except DataError as error:
                unreadable.append(f"{path}: {error}")
        if read:
            yield read, model.predict(list(read.values()))
    if len(unreadable) == len(paths):
        raise DataError("no image could be read:\n  " + "\n  ".join(unreadable))
    tell(f"left out: {reason}" for reason in unreadable)


def _path(weights: dict[str, float]) -> str:
    """The models on an image's path with their weights, the largest first."""
    active = sorted((name for name in weights if weights[name]), key=lambda name: -weights[name])
    return "  path " + ", ".join(f"{name} {weights[name]:.2f}" for name in active)


def _files(given: Path) -> list[Path]:
    if not given.is_dir():
        return [given]
    from hubtune.tasks.folder import IMAGE_SUFFIXES

    visible = (path for path in given.rglob("*") if not any(part.startswith(".") for part in path.relative_to(given).parts))
    found = sorted(path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{given} holds no image files; expected some of {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found
