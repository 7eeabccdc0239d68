"""A hub whose models each understand one kind of image, small enough to be trained within a second."""

import pytest
import torch
from torch import nn

from hubtune.hub import Backbone, ModelCard
from hubtune.hub.backbone import Preprocessing
from hubtune.tasks import Task
from hubtune.training.method import Setting
from hubtune.training.runtime import Runtime

SIDE = 8
DOMAINS = 3
CLASSES = 3


class Expert(Backbone):
    """Sees the class (the green level) in images of its own domain (the red level), and nothing at all in others."""

    def __init__(self, domain: int, name: str | None = None):
        facts = {"name": name or f"expert-{domain}", "source": "test", "architecture": "expert", "params": 0}
        card = ModelCard(**facts, input_size=SIDE, feature_dim=CLASSES)
        super().__init__(nn.Identity(), card, Preprocessing(input_size=SIDE, mean=(0, 0, 0), std=(1, 1, 1)), CLASSES)
        self.domain = domain
        self.calls: list[int] = []

    def embed(self, x):
        self.calls.append(len(x))
        red, green = x[:, 0].mean((1, 2)), x[:, 1].mean((1, 2))
        own = (red * DOMAINS).floor() == self.domain
        return own[:, None] * 4.0 * nn.functional.one_hot((green * CLASSES).floor().long().clamp(0, CLASSES - 1), CLASSES).float()

    def maps(self, x):
        return [x]

    @property
    def map_names(self):
        return ("input",)

    def _identity(self):
        return {"kind": "test", "domain": self.domain}


def images(count: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    domain = torch.arange(count) % DOMAINS
    label = torch.randint(CLASSES, (count,), generator=generator)
    canvas = torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator)
    for channel, value, levels in ((0, domain, DOMAINS), (1, label, CLASSES)):
        level = (value + 0.5) / levels * 255
        canvas[:, channel] = (level[:, None, None] + torch.randint(-20, 21, (count, SIDE, SIDE), generator=generator)).long()
    return canvas.to(torch.uint8), label, domain


@pytest.fixture(scope="session")
def experts_file(tmp_path_factory):
    import numpy as np

    arrays = {}
    for seed, (split, count) in enumerate({"train": 96, "val": 48, "test": 90}.items()):
        canvas, label, _ = images(count, seed)
        arrays[f"x_{split}"], arrays[f"y_{split}"] = canvas.permute(0, 2, 3, 1).numpy(), label.numpy()
    path = tmp_path_factory.mktemp("experts") / "experts.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def expert_task(experts_file):
    return Task.open(experts_file)


@pytest.fixture
def experts():
    return [Expert(domain) for domain in range(DOMAINS)]


@pytest.fixture
def setting():
    return Setting(seed=0, canvas_size=None, runtime=Runtime(device_name="cpu"))
