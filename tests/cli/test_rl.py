"""The commands of ``hubtune rl``, on a world of the tests, and what they say without the games."""

import importlib
import json

import pytest
from PIL import Image

SMALL = {
    "frame_size": 30,
    "history": 1,
    "atoms": 5,
    "hidden": 8,
    "n_step": 2,
    "learn_from": 10,
    "evaluation_episodes": 2,
    "test_episodes": 3,
}
OPTIONS = ("--steps", "20", "--device", "cpu", *(word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")))


def test_train_transfer_play(run, tmp_path):
    made = json.loads(run("rl", "train", "rl.gridworld:Room", *OPTIONS, "--out", tmp_path / "one", "--json").out)
    assert made["path"] == str(tmp_path / "one")
    assert made["methods"][0]["label"] == "scratch"
    told = run("rl", "train", "rl.gridworld:Room", *OPTIONS, "--seed", "1", "--out", tmp_path / "two")
    assert str(tmp_path / "two" / "report.html") in told.out
    listed = json.loads(run("models", "--hub", tmp_path / "one" / "model", "--json").out)
    assert [(card["architecture"], card["paradigm"]) for card in listed] == [("data_efficient_cnn", "reinforcement learning")]
    both = ("--from", tmp_path / "one", "--from", tmp_path / "two")
    several = json.loads(
        run(
            "rl", "transfer", "rl.gridworld:WideRoom", *both, "--method", "fine-tune,zoo-tuning", *OPTIONS, "--set", "heads=all", "--json"
        ).out
    )
    assert [row["label"].split()[0] for row in several["methods"]] == ["fine-tune", "fine-tune", "zoo-tuning"]
    assert any("has the 4 actions UP, RIGHT, DOWN, LEFT" in warning for warning in several["warnings"])
    film = tmp_path / "film.gif"
    played = run("rl", "play", "rl.gridworld:WideRoom", "--policy", several["path"], "--episodes", "2", "--video", film, "--device", "cpu")
    assert "mean score" in played.out
    with Image.open(film) as video:
        assert video.format == "GIF"
    assert "report.html" in run("report", several["path"]).out
    assert any(row["task"] == "WideRoom" for row in json.loads(run("runs", "--json").out))
    told = run("rl", "play", "rl.gridworld:Room", "--policy", several["path"], code=2)
    assert "with 6 actions, and Room has 4" in told.err


def test_mistakes_are_told_in_a_line(run, tmp_path):
    assert "no world 'rl.gridworld:Hall'" in run("rl", "train", "rl.gridworld:Hall", *OPTIONS, code=2).err
    assert "did you mean 'learn_from'" in run("rl", "train", "rl.gridworld:Room", "--set", "learns_from=3", code=2).err
    assert "expected at least one folder: --from RUN" in run("rl", "transfer", "rl.gridworld:Room", code=2).err
    assert "holds no policy" in run("rl", "play", "rl.gridworld:Room", "--policy", tmp_path, code=2).err
    assert "holds no policy" in run("rl", "transfer", "rl.gridworld:Room", "--from", tmp_path, code=2).err
    told = run("rl", "transfer", "rl.gridworld:Room", "--method", "fine-tune,scratch", "--set", "topk=3", code=2)
    assert "unknown field of fine-tune,scratch 'topk'" in told.err


def test_without_the_games_it_is_said_how_to_install_them(run, monkeypatch):
    real = importlib.import_module

    def absent(name, *rest):
        if name in ("ale_py", "gymnasium"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert "pip install 'hubtune[rl]'" in run("rl", "train", "Gopher", code=2).err


def test_a_game_that_does_not_exist_names_the_nearest(run):
    pytest.importorskip("ale_py")
    assert "did you mean 'Gopher'" in run("rl", "train", "Gofer", code=2).err
