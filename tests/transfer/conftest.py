import pytest
import torch

from hubtune.hub import ModelCard
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone
from hubtune.training.learner import Batch
from hubtune.training.method import Setting
from hubtune.training.runtime import Runtime

SMALL = {"target": "cifar_resnet8", "target_input_size": 16, "learning_rates": (0.05,), "steps": 10}


@pytest.fixture
def setting():
    return Setting(seed=3, canvas_size=None, runtime=Runtime(device_name="cpu"))


@pytest.fixture
def make(task, hub, setting):
    """A learner of a method on the small target, from named sources."""

    def learner(method_class, sources=("resnet-a",), **fields):
        method = method_class(**{**SMALL, **fields})
        return method.learner([hub.load(name) if isinstance(name, str) else name for name in sources], task, [], setting)

    return learner


@pytest.fixture
def batch(task):
    return lambda start=0, rows=12: Batch(
        task.train.canvas(range(start, start + rows), None), task.train.targets[start : start + rows], torch.arange(start, start + rows)
    )


@pytest.fixture
def backbone_of():
    """Makes a random network without an upstream head."""
    return _backbone_of


def _backbone_of(architecture, name="model", input_size=None, **model_args):
    torch.manual_seed(0)
    blueprint = Blueprint(architecture=architecture, model_args=model_args).resized(input_size)
    size = blueprint.measure()
    card = ModelCard(
        name=name,
        source="test",
        architecture=architecture,
        params=size.params,
        input_size=blueprint.input_size,
        feature_dim=size.feature_dim,
    )
    return TimmBackbone(blueprint.build(), blueprint, card)
