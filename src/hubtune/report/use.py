"""How to use what came out, and how to get it again."""

import shlex
from pathlib import Path

from hubtune.report.record import Record
from hubtune.report.section import Section, fill, plain


def use(record: Record, folder: Path) -> Section | None:
    """Code that loads the deployed model and predicts."""
    if record.model is None:
        return None
    path, network = record.home, record.home / record.model.folder
    snippets = [
        ("Command line", f"hubtune predict {shlex.quote(str(path))} image.png"),
        ("Python", python(record, str(path))),
    ]
    if record.model.format == "timm":
        snippets.append(("timm alone", TIMM.format(name=f"local-dir:{network}")))
    return Section("use", "Use the model", fill("use.html", snippets=snippets, model=record.model, licenses=licenses(record)))


def reproduce(record: Record, folder: Path) -> Section:
    """The command, the configuration, the identity of data and models, and the environment."""
    names = (record.chosen.models if record.chosen else []) or (record.search.picks if record.search else [])
    identities = [(name, record.card(name).provenance or record.card(name).source, record.card(name).sha256) for name in names]
    body = fill(
        "reproduce.html",
        command=record.request.command or _command(record),
        config=[(key, plain(value)) for key, value in (record.chosen.config if record.chosen else record.request.config).items()],
        fingerprint=record.task.fingerprint,
        identities=[identity for identity in identities if identity[1] or identity[2]],
        environment=[(key.replace("_", " "), plain(value)) for key, value in record.environment.items()],
        version=record.hubtune,
    )
    return Section("reproduce", "Reproduce", body)


def licenses(record: Record) -> list[tuple[str, str | None]]:
    """The licence of each source model of what is deployed."""
    models = record.chosen.models if record.chosen else []
    own = record.model.license if record.model and record.model.license != "unknown" else None
    return [(name, record.card(name).license or own) for name in models]


def _command(record: Record) -> str | None:
    """The command that asks for the same, where the run was started from Python."""
    request = record.request
    if record.kind != "tune" or request.data is None or request.method is None:
        return None
    words = ["hubtune", "tune", request.data]
    options = {"hub": request.hub, "where": request.where, "strategy": request.strategy, "budget": request.budget}
    options |= {"method": request.method, "seed": request.seed, "input-size": request.input_size}
    options |= {"precision": request.precision if request.precision != "no" else None}
    for option, value in options.items():
        words += [] if value in (None, "") else [f"--{option}", str(value)]
    for key, value in request.config.items():
        words += ["--set", f"{key}={plain(value)}"]
    return shlex.join(words)


def python(record: Record, path: str) -> str:
    """Code that loads a model from a path and predicts."""
    return PYTHON.format(path=path, answer=ANSWERS.get(record.task.kind or "", ANSWERS["classification"]))


ANSWERS = {"classification": "prediction.labels, prediction.probabilities", "landmarks": "prediction.points"}
"""What a prediction holds, by kind of task."""
PYTHON = """\
import hubtune as ht

model = ht.load({path!r})
prediction = model.predict(["image.png"])
print({answer})"""

TIMM = """\
import hubtune.nets  # for HubTune's own architectures only
import timm
import torch
from PIL import Image

model = timm.create_model({name!r}, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.inference_mode():
    print(model(transform(Image.open("image.png").convert("RGB"))[None]).softmax(1))"""
