import dataclasses

import pytest
import torch

from hubtune.training.batches import Batches
from hubtune.training.runtime import Runtime
from hubtune.transfer import source_memory
from hubtune.transfer.networks import Sources
from hubtune.transfer.source_memory import SourceMemory

STEPS = 12


@pytest.fixture
def sources(hub, monkeypatch):
    """Two sources that count the images they look at."""
    found = Sources([hub.load("resnet-a"), hub.load("vit")], Runtime(device_name="cpu"))
    call = Sources.__call__
    looked = []
    monkeypatch.setattr(Sources, "__call__", lambda self, canvas, **options: looked.append(len(canvas)) or call(self, canvas, **options))
    return found, looked


def run(task, sources, augmentation, steps=STEPS):
    """Differences between what is remembered and what the sources say, and how many images these looked at."""
    sources, looked = sources
    task = dataclasses.replace(task, augmentation=augmentation)
    memory = SourceMemory(sources, task, None, steps)
    batches = Batches(task=task, split=task.train, canvas_size=None, batch_size=12, seed=0)
    worst, images = 0.0, 0
    for step in range(4):
        batch = batches(step)
        before = sum(looked)
        found = memory(batch, maps=True, logits=True)
        images += sum(looked) - before
        for a, b in zip(found, sources(batch.canvas, maps=True, logits=True), strict=True):
            for x, y in zip((*a.maps, a.logits), (*b.maps, b.logits), strict=True):
                assert x.stride() == y.stride()
                worst = max(worst, float((x - y).abs().max()))
    return worst, images


@pytest.mark.parametrize(("augmentation", "images"), [("none", 36), ("flip", 72), ("crop", 48), ("crop+flip", 48)])
def test_an_image_is_looked_at_once_where_it_comes_again(task, sources, augmentation, images):
    """36 images, mirrored 72; otherwise all 4 batches of 12."""
    worst, looked = run(task, sources, augmentation)
    assert looked == images
    assert worst < 1e-5


def test_what_is_too_large_or_used_too_seldom_is_not_kept(task, sources, monkeypatch):
    assert run(task, sources, "none", steps=5)[1] == 48
    monkeypatch.setattr(source_memory, "LIMIT", 1000)
    worst, looked = run(task, sources, "none")
    assert looked == 36 + 48
    assert worst == 0


def test_memory_that_runs_out_is_no_error(task, hub, sources, monkeypatch):
    monkeypatch.setattr(source_memory, "_joined", lambda parts: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    assert run(task, sources, "none")[0] == 0
