"""A policy is learnt, and an interruption changes nothing."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hubtune.rl import HubPathway, Scratch, learn
from hubtune.rl.learner import RainbowLearner
from hubtune.rl.running import EMPTY, Training, train_policy
from hubtune.rl.world import world_named
from hubtune.training.cells import Work
from hubtune.training.loop import Diverged
from hubtune.training.runtime import Runtime

CPU = torch.device("cpu")
CHILD = """
import json, sys
from pathlib import Path
import torch
from hubtune.rl import Scratch
from hubtune.rl.running import Training, train_policy
from hubtune.training.cells import Work
from hubtune.training.runtime import Runtime

torch.set_num_threads(1)  # as in the tests: sums depend on it
work = Work(root=Path(sys.argv[1]), runtime=Runtime(device_name="cpu"), checkpoint_seconds=0.0)
train_policy(Training(game="rl.gridworld:Mortal", method=Scratch.from_config(json.loads(sys.argv[2]))), work)
"""
"""A training in a process of its own, which a test may kill."""


def test_a_room_is_solved(tiny):
    settings = tiny | {"steps": 700, "history": 1, "hidden": 32, "learn_from": 100, "target_update": 50, "evaluation_episodes": 10}
    run = learn("rl.gridworld:Room", [Scratch(**settings | {"evaluate_every": 700})], device="cpu")
    assert run.metrics["test_score"] >= 0.9
    assert run.metrics["test_game_steps"] < 4


class Interrupted(Exception):
    pass


def work(folder, stop_at: int | None = None) -> Work:
    def progress(step: int, steps: int, scalars: dict[str, float]) -> None:
        if step == stop_at:
            raise Interrupted

    return Work(root=folder, runtime=Runtime(device_name="cpu"), checkpoint_seconds=0.0, on_progress=progress)


@pytest.mark.parametrize("method", ["scratch", "hub-pathway"])
def test_a_resumed_training_equals_an_undisturbed_one(method, tiny, sources, tmp_path):
    config = tiny | {"steps": 60, "replay_capacity": 40, "evaluate_every": 30}
    training = Training(
        game="rl.gridworld:Mortal",
        method=Scratch(**config) if method == "scratch" else HubPathway(**config),
        sources=() if method == "scratch" else tuple(sources),
    )
    undisturbed = train_policy(training, work(tmp_path / "one"))
    for stop_at in (10, 50):
        with pytest.raises(Interrupted):
            train_policy(training, work(tmp_path / "two", stop_at))
        assert work(tmp_path / "two").checkpoint(training.cell).exists()
    resumed = train_policy(training, work(tmp_path / "two"))
    left_out = ("seconds", "steps_per_second")
    for record in (undisturbed, resumed):
        assert all(record.pop(name) > 0 for name in left_out)
    assert resumed == undisturbed
    first, second = (load_file(work(tmp_path / name).folder(training.cell) / "model" / "policy.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not work(tmp_path / "two").progress_folder(training.cell).exists()


def test_a_damaged_checkpoint_starts_anew(tiny, tmp_path):
    training = Training(game="rl.gridworld:Room", method=Scratch(**tiny))
    expected = train_policy(training, work(tmp_path / "one"))
    checkpoint = work(tmp_path / "two").checkpoint(training.cell)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"not a checkpoint")
    with pytest.warns(RuntimeWarning, match=r"is damaged: training starts anew.*checkpoint.damaged"):
        assert train_policy(training, work(tmp_path / "two"))["metrics"] == expected["metrics"]


def test_a_killed_training_goes_on_where_its_checkpoint_is(tiny, tmp_path):
    training = Training(game="rl.gridworld:Mortal", method=Scratch(**tiny | {"steps": 500, "evaluate_every": 500}))
    checkpoint = work(tmp_path).checkpoint(training.cell)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), json.dumps(training.method.config())], cwd=Path(__file__).parents[1]
    )
    try:
        while not checkpoint.exists():
            assert child.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)
    finally:
        child.kill()
        child.wait()
    reached = torch.load(checkpoint, weights_only=True)["loop"]["step"]
    assert reached < 500
    seen: list[int] = []
    goes_on = replace(work(tmp_path), checkpoint_seconds=60.0, on_progress=lambda step, steps, values: seen.append(step))
    resumed = train_policy(training, goes_on)
    assert reached < seen[0] <= reached + 10
    undisturbed = train_policy(training, replace(work(tmp_path / "other"), checkpoint_seconds=60.0))
    assert resumed["history"] == undisturbed["history"]


def made(settings: Scratch, game: str = "Mortal") -> RainbowLearner:
    world = world_named(f"rl.gridworld:{game}", settings)()
    torch.manual_seed(0)
    start = settings.start([], world.actions)
    return RainbowLearner(start.policy, start.objective, settings, world, seed=0, device=CPU)


def test_a_lost_life_ends_an_episode_for_learning_only(tiny):
    learners = [made(Scratch(**tiny | {"learn_from": 1000, "life_loss_ends": ends})) for ends in (True, False)]
    for learner in learners:
        torch.manual_seed(1)
        for _ in range(40):
            learner.step(EMPTY, 0.0)
    lives, games = learners
    assert lives.games == games.games  # the same games are played
    assert lives.replay.ended.sum() > games.replay.ended.sum() > 0
    assert lives.replay.first.sum() == games.replay.first.sum() <= len(games.games) + 1


def test_learning_waits_and_the_target_network_follows(tiny):
    learner = made(Scratch(**tiny | {"learn_from": 12, "target_update": 30, "learn_every": 2}))
    before = {name: value.clone() for name, value in learner.predictor().state_dict().items()}

    def moved(network: torch.nn.Module) -> bool:
        return any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())

    torch.manual_seed(0)
    for step in range(1, 31):
        loss = learner.step(EMPTY, 0.0)["loss"]
        assert (float(loss) > 0) == (step > 12 and step % 2 == 0)
        assert moved(learner.predictor()) == (step >= 14)
        assert moved(learner._target) == (step >= 30)


def test_the_target_is_the_reward_where_the_episode_ended(tiny):
    learner = made(Scratch(**tiny | {"learn_from": 1000}))
    torch.manual_seed(0)
    for _ in range(40):
        learner.step(EMPTY, 0.0)
    batch = learner.replay.draw(32, 0.4, CPU)
    target = learner.target(batch)
    over = batch.discounts == 0
    assert over.any()
    torch.testing.assert_close((target @ torch.linspace(-1, 1, 11))[over], batch.returns[over])


def test_noise_is_on_in_acting_and_off_in_evaluation(tiny):
    learner = made(Scratch(**tiny))
    policy = learner.predictor()
    stack = torch.randint(0, 256, (1, 2, 30, 30), dtype=torch.uint8)
    outputs = []
    for _ in range(2):
        learner.step(EMPTY, 0.0)
        assert policy.training
        outputs.append(policy(stack))
    assert not torch.equal(*outputs)
    policy.eval()
    assert torch.equal(policy(stack), policy(stack))


def test_a_training_that_diverges_is_said_and_the_others_go_on(tiny, tmp_path):
    broken, good = Scratch(**tiny | {"learning_rate": 1e30}), Scratch(**tiny)
    run = learn("rl.gridworld:Room", [broken, good], out=tmp_path / "run", device="cpu")
    assert len(run.record["cells"]) == 1
    assert any("seed 0: the loss became" in warning for warning in run.record["warnings"])
    with pytest.raises(Diverged, match="no training ended well"):
        learn("rl.gridworld:Room", [broken], device="cpu")
    assert good.config() == run.record["chosen"]["config"]


def test_several_configurations_of_one_method_are_groups_of_their_own(tiny, tmp_path):
    methods = [Scratch(**{**tiny, "n_step": n, "steps": 40, "evaluate_every": 40}) for n in (2, 3)]
    run = learn("rl.gridworld:Room", methods, out=tmp_path / "run", device="cpu")
    assert [group["label"] for group in run.record["play"]["groups"]] == ["scratch n_step=2", "scratch n_step=3"]
    assert repr(run) == f"PolicyRun(Room: test_score {run.metrics['test_score']:.1f}, {run.path})"


def test_a_page_and_a_record_of_several_methods_and_seeds(tiny, sources, tmp_path):
    methods = [Scratch(**tiny), HubPathway(**tiny)]
    run = learn("rl.gridworld:Room", methods, sources, seeds=[0, 1], out=tmp_path / "run", device="cpu")
    groups = run.record["play"]["groups"]
    names = [source.name for source in sources]
    assert [group["label"] for group in groups] == ["scratch", f"hub-pathway from {'+'.join(names)}"]
    assert all(len(group["scores"]) == len(group["seeds"]) == 2 for group in groups)
    assert run.metrics["test_score"] in [score for group in groups for score in group["scores"]]
    page = (tmp_path / "run" / "report.html").read_text()
    assert 'id="learning"' in page
    assert "data:image/gif;base64," in page
    assert (tmp_path / "run" / "model" / "policy.safetensors").exists()
    again = learn("rl.gridworld:Room", methods, sources, seeds=[0, 1], out=tmp_path / "again", device="cpu")
    assert again.record["play"] == run.record["play"]  # the speed too: nothing was trained again
    assert json.dumps(again.metrics) == json.dumps(run.metrics)
