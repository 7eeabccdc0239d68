"""A tiny task and a tiny hub, so that the whole road fits into a second; folders of its own for each test."""

import os
import socket
import subprocess
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings

import hubtune

settings.register_profile("tests", deadline=None)  # nothing in the tests is timed
settings.load_profile("tests")

torch.set_num_threads(1)

CLASSES = 3


@pytest.fixture(autouse=True)
def _folders(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HUBTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HUBTUNE_RUNS", str(tmp_path_factory.mktemp("runs")))


@pytest.fixture(autouse=True)
def _shapes_as_written(request):
    """Shapes are checked but where a test gives wrong ones on purpose, to read what the code itself says of them."""
    on_purpose = request.node.get_closest_marker("wrong_shapes") is not None
    jaxtyping.config.update("jaxtyping_disable", on_purpose)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def torchrun():
    """Start two processes of a program, on this machine's own address and a port that nobody uses; what they printed."""

    def start(*program: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(port)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *launcher, *program], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr  # whole: the process that failed first speaks first
        return done.stdout

    return start


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is the colour of a noisy field: learnable within a few steps."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = generator.integers(0, 100, (count, 16, 16, 3))
    images[np.arange(count), :, :, labels] += 90
    return images.astype(np.uint8), labels


@pytest.fixture(scope="session")
def task_file(tmp_path_factory):
    """An .npz file of 36 / 18 / 30 images of 16 x 16 pixels in three classes."""
    arrays = {}
    for seed, (split, count) in enumerate({"train": 36, "val": 18, "test": 30}.items()):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = draw(count, seed)
    path = tmp_path_factory.mktemp("task") / "colours.npz"
    np.savez(path, **arrays, class_names=np.array(["red", "green", "blue"]))
    return path


@pytest.fixture
def task(task_file):
    return hubtune.Task.open(task_file)


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory):
    """Three random networks of two families as timm folders."""
    import timm
    from timm.models import save_for_hf

    import hubtune.nets  # noqa: F401

    folder = tmp_path_factory.mktemp("models")
    options = {
        "resnet-a": ("cifar_resnet8", {}),
        "resnet-b": ("cifar_resnet8", {}),
        "vit": ("vit_tiny_patch16_224", {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 4, "num_heads": 2}),
    }
    for seed, (name, (architecture, args)) in enumerate(options.items()):
        torch.manual_seed(seed)
        network = timm.create_model(architecture, num_classes=5, **args)
        network.pretrained_cfg.update({"input_size": (3, 16, 16), "license": "mit"})
        save_for_hf(network, folder / name, model_args=args, safe_serialization=True)
    return folder


@pytest.fixture
def hub(models_folder):
    return hubtune.Hub.open(models_folder)
