import torch
from hypothesis import given
from hypothesis import strategies as st

from hubtune.training.batches import Batches
from hubtune.training.schedules import learning_rate_factor
from hubtune.training.seeds import derive


def make(task, batch_size, seed=0, augment=False):
    return Batches(task=task, split=task.train, canvas_size=None, batch_size=batch_size, seed=seed, augment=augment)


def test_an_epoch_holds_every_image_once_even_across_batches(task):
    batches = make(task, 10)
    indices = torch.cat([batches(step).indices for step in range(18)])
    assert len(indices) == 180
    for epoch in indices.split(len(task.train)):
        assert sorted(epoch.tolist()) == list(range(len(task.train)))


def test_every_batch_is_full_and_no_larger_than_the_split(task):
    assert all(len(make(task, 10)(step)) == 10 for step in range(8))
    assert len(make(task, 1000)(3)) == len(task.train)


def test_a_batch_depends_on_its_step_alone(task):
    forward, backward = make(task, 8), make(task, 8)
    expected = [forward(step) for step in range(6)]
    for step in (5, 0, 3, 3):
        batch = backward(step)
        assert torch.equal(batch.canvas, expected[step].canvas)
        assert torch.equal(batch.targets, expected[step].targets)


def test_another_seed_is_another_order(task):
    assert not torch.equal(make(task, 36, seed=0)(0).indices, make(task, 36, seed=1)(0).indices)


@given(st.integers(0, 1000), st.lists(st.integers(0, 9), min_size=1, max_size=3))
def test_seeds_of_different_purposes_differ(seed, purpose):
    assert derive(seed, *purpose) == derive(seed, *purpose)
    assert derive(seed, *purpose) != derive(seed, *purpose, 0)
    assert 0 <= derive(seed, *purpose) < 2**63


def test_the_step_schedule_is_vtabs():
    rates = [learning_rate_factor("step", step / 2500) for step in (0, 749, 750, 1499, 1500, 2249, 2250)]
    assert rates == [1, 1, 0.1, 0.1, 0.1**2, 0.1**2, 0.1**3]


@given(st.floats(0, 0.999))
def test_factors_lie_between_zero_and_one(progress):
    for schedule in ("step", "cosine", "constant"):
        assert 0 <= learning_rate_factor(schedule, progress, warmup=0.1) <= 1
