import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hubtune.errors import ConfigurationError
from hubtune.training.learner import Batch
from hubtune.training.predictor import Single
from hubtune.training.runtime import Runtime
from hubtune.training.supervised import Optimization, SupervisedLearner, layer_decay_groups

RUNTIME = Runtime(device_name="cpu")


def make(task, hub, steps=10, optimization=None, **options):
    backbone = hub.load("resnet-a")
    torch.manual_seed(0)
    return SupervisedLearner(
        Single(backbone, task.head(backbone)),
        task,
        steps=steps,
        optimization=optimization or Optimization(learning_rate=0.01),
        runtime=RUNTIME,
        **options,
    )


def first_batch(task):
    return Batch(task.train.canvas(range(12), None), task.train.targets[:12], torch.arange(12))


def test_steps_lower_the_loss(task, hub):
    learner = make(task, hub, optimization=Optimization(learning_rate=0.05))
    losses = [float(learner.step(first_batch(task), 0.0)["loss"]) for _ in range(8)]
    assert losses[-1] < 0.8 * losses[0]


def test_state_in_and_out_goes_on_bit_for_bit(task, hub):
    straight, first, second = make(task, hub), make(task, hub), make(task, hub)
    batch = first_batch(task)
    expected = [float(straight.step(batch, i / 10)["loss"]) for i in range(6)]
    for i in range(3):
        first.step(batch, i / 10)
    second.load_state_dict(first.state_dict())
    assert [float(second.step(batch, i / 10)["loss"]) for i in range(3, 6)] == expected[3:]


def test_chunks_accumulate_to_the_same_gradient(task, hub):
    whole, halves = make(task, hub, frozen_batch_norm=True), make(task, hub, frozen_batch_norm=True)
    halves.halve_chunks()
    batch = first_batch(task)
    assert float(whole.step(batch, 0)["loss"]) == pytest.approx(float(halves.step(batch, 0)["loss"]), rel=1e-5)
    for a, b in zip(whole.predictor().parameters(), halves.predictor().parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_frozen_batch_norm_keeps_its_statistics(task, hub):
    for frozen in (True, False):
        learner = make(task, hub, frozen_batch_norm=frozen)
        before = {name: value.clone() for name, value in learner.predictor().named_buffers() if "running" in name}
        learner.step(first_batch(task), 0)
        same = all(torch.equal(value, before[name]) for name, value in learner.predictor().named_buffers() if name in before)
        assert same is frozen


def test_layer_decay_grows_towards_the_head(task, hub):
    backbone = hub.load("resnet-a")
    network = Single(backbone, task.head(backbone))
    groups = layer_decay_groups(network, 1.0, 0.5)
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates)
    assert rates[-1] == 1.0
    assert any(p is network.head.weight for p in groups[-1]["params"])
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_precision_is_checked():
    with pytest.raises(ConfigurationError, match="fp4"):
        Runtime(precision="fp4")


TWO = """
import sys, torch, hubtune as ht
from hubtune.training.supervised import SupervisedLearner, Optimization
from hubtune.training.predictor import Single
from hubtune.training.learner import Batch
from hubtune.training.loop import Plan, train
from hubtune.training.runtime import Runtime
task, hub = ht.Task.open(sys.argv[1]), ht.Hub.open(sys.argv[2])
runtime = Runtime(device_name="cpu")
backbone = hub.load("vit")
torch.manual_seed(0)
learner = SupervisedLearner(
    Single(backbone, task.head(backbone)), task, steps=5, optimization=Optimization(learning_rate=0.01), runtime=runtime)
batch = Batch(task.train.canvas(range(12), None), task.train.targets[:12], torch.arange(12))
train(learner, lambda step: batch, lambda: {"accuracy": 0.0}, Plan(seed=0, evaluate_every=5), runtime)
if runtime.is_main:
    torch.save(learner.predictor().state_dict(), sys.argv[3])
runtime.wait()
"""


def test_two_processes_equal_one_on_the_same_batch(torchrun, task_file, models_folder, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    arguments = [str(script), str(task_file), str(models_folder)]
    subprocess.run([sys.executable, *arguments, str(tmp_path / "one.pt")], check=True, capture_output=True)
    torchrun(*arguments, str(tmp_path / "two.pt"))
    one, two = (torch.load(Path(tmp_path / name), weights_only=True) for name in ("one.pt", "two.pt"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)
