"""Settings under which a policy for the room of `gridworld` is learnt within seconds, and two policies to start from."""

import pytest

from hubtune.rl import Scratch, learn, open_policies

TINY = {
    "frame_size": 30,
    "history": 2,
    "atoms": 11,
    "hidden": 16,
    "lowest_return": -1.0,
    "highest_return": 1.0,
    "n_step": 2,
    "discount": 0.9,
    "learning_rate": 2e-3,
    "learn_from": 20,
    "target_update": 20,
    "evaluate_every": 20,
    "evaluation_episodes": 3,
    "test_episodes": 3,
    "steps": 40,
}


@pytest.fixture
def tiny():
    return dict(TINY)


@pytest.fixture(scope="session")
def policies(tmp_path_factory):
    """Two runs of a room with four actions and one of a room with six."""
    folder = tmp_path_factory.mktemp("policies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBTUNE_RUNS", str(folder / "runs"))
        for name, game, seed in (("one", "Room", 0), ("two", "Room", 1), ("wide", "WideRoom", 0)):
            learn(f"rl.gridworld:{game}", [Scratch(**TINY | {"steps": 30})], seeds=[seed], out=folder / name, device="cpu")
    return folder


@pytest.fixture
def sources(policies):
    """The two policies of one room."""
    return open_policies([policies / "one", policies / "two"])
