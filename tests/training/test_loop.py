"""The loop on a learner of one number: everything about it can be said exactly."""

import resource
import signal
import time

import pytest
import torch

from hubtune.errors import RunError, TrainingError
from hubtune.training.learner import Batch, Learner
from hubtune.training.loop import Diverged, OutOfTime, Plan, train
from hubtune.training.runtime import Runtime


class Number(Learner):
    """Adds noise and the batch's mean to one number."""

    def __init__(self, steps=20, fail_at=None, memory=10**9):
        self.steps, self.value, self.seen = steps, torch.zeros(()), []
        self.fail_at, self.memory, self.chunks, self.finished = fail_at, memory, 1, 0

    def step(self, batch, progress):
        if len(batch) // self.chunks > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.fail_at is not None and len(self.seen) == self.fail_at:
            signal.raise_signal(signal.SIGINT)
        self.seen.append(progress)
        self.value = self.value + torch.rand(()) + batch.targets.float().mean()
        return {"loss": self.value}

    def halve_chunks(self):
        self.chunks *= 2
        return self.chunks <= 8

    def finish(self, batches):
        self.finished += 1

    def predictor(self):
        return torch.nn.Linear(1, 1)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def batches(step):
    return Batch(torch.zeros(8, 3, 2, 2, dtype=torch.uint8), torch.full((8,), step), torch.arange(8))


def run(learner, evaluate=lambda: {"accuracy": 0.5}, **options):
    return train(learner, batches, evaluate, Plan(seed=1, **{"evaluate_every": 5, **options}), Runtime(device_name="cpu"))


def test_history_has_a_row_an_evaluation_and_progress_grows():
    learner = Number()
    history = run(learner)
    assert [row["step"] for row in history] == [5, 10, 15, 20]
    assert learner.seen == [step / 20 for step in range(20)]
    assert learner.finished == 1


@pytest.mark.parametrize("moment", [0, 1, 7, 18])
def test_ctrl_c_ends_the_step_and_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path, moment):
    undisturbed = Number()
    expected = run(undisturbed)
    with pytest.raises(KeyboardInterrupt):
        run(Number(fail_at=moment), checkpoint=tmp_path / "c.pt")
    resumed = Number()
    assert run(resumed, checkpoint=tmp_path / "c.pt") == expected
    assert torch.equal(resumed.value, undisturbed.value)
    assert len(resumed.seen) == 20 - moment - 1


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    class Stuck(Number):
        def step(self, batch, progress):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(Stuck(), checkpoint=tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_a_training_is_finished_is_not_forgotten():
    class Slow(Number):
        def finish(self, batches):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(Slow())


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(Number())
    assert torch.equal(torch.rand(3), expected)


def test_a_damaged_checkpoint_is_said(tmp_path):
    (tmp_path / "c.pt").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="delete it"):
        run(Number(), checkpoint=tmp_path / "c.pt")


def test_a_full_disk_is_said_in_one_line_and_the_last_checkpoint_stays(tmp_path):
    class Large(Number):
        def state_dict(self):
            return {"value": self.value, "much": torch.zeros(100_000)}

    with pytest.raises(OutOfTime):
        run(Number(), checkpoint=tmp_path / "c.pt", deadline=time.monotonic() - 1)
    before = (tmp_path / "c.pt").read_bytes()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, most))
    try:
        with pytest.raises(RunError, match="cannot be written") as caught:
            run(Large(), checkpoint=tmp_path / "c.pt", checkpoint_seconds=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]
    assert (tmp_path / "c.pt").read_bytes() == before


def test_nan_is_reported_early():
    class Bad(Number):
        def step(self, batch, progress):
            return {"loss": torch.tensor(float("nan"))}

    with pytest.raises(Diverged, match="nan by step 5 of 1000"):
        run(Bad(steps=1000))


def test_a_deadline_leaves_a_checkpoint(tmp_path):
    with pytest.raises(OutOfTime, match="step 1 of 20"):
        run(Number(), checkpoint=tmp_path / "c.pt", deadline=time.monotonic() - 1)
    learner = Number()
    run(learner, checkpoint=tmp_path / "c.pt")
    assert len(learner.seen) == 19


def test_early_stopping_counts_evaluations_without_progress():
    scores = iter([0.1, 0.3, 0.2, 0.2, 0.9])
    history = run(Number(steps=100), evaluate=lambda: {"accuracy": next(scores)}, patience=2)
    assert [row["val_accuracy"] for row in history] == [0.1, 0.3, 0.2, 0.2]


def test_out_of_memory_halves_the_chunks_until_they_fit():
    learner = Number(memory=2)
    with pytest.warns(RuntimeWarning, match="memory ran out"):
        run(learner)
    assert learner.chunks == 4
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(RuntimeWarning):
        run(Number(memory=0))
