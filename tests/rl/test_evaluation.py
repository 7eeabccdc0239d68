"""Evaluations and films."""

import numpy as np
import torch
from PIL import Image

from hubtune.rl import Scratch, evaluate, write_video
from hubtune.rl import evaluation as evaluation_module
from hubtune.rl.evaluation import Film
from hubtune.rl.experiment import game_curve
from hubtune.rl.world import world_named


def policy_and_world(tiny):
    method = Scratch(**tiny, evaluation_epsilon=0.5)
    make_world = world_named("rl.gridworld:Mortal", method)
    torch.manual_seed(0)
    return method.start([], make_world().actions).policy, make_world, method


def test_a_game_does_not_depend_on_those_beside_it(tiny):
    policy, make_world, method = policy_and_world(tiny)

    def scores(episodes):
        played = evaluate(policy, make_world, method, episodes=episodes, seed=3, device=torch.device("cpu"))
        return [(episode.score, episode.steps) for episode in played]

    assert scores(6)[:2] == scores(2)
    assert scores(6) == scores(6)
    assert len(set(scores(6))) > 1
    assert policy.training  # as it was before


def test_a_game_without_end_is_cut(tiny):
    method = Scratch(**tiny | {"evaluation_epsilon": 0.0, "evaluation_frames": 15, "frame_skip": 4})
    make_world = world_named("rl.gridworld:Room", method)
    policy = method.start([], make_world().actions).policy
    for parameter in policy.parameters():  # always the first action, into the wall
        torch.nn.init.zeros_(parameter)
    played = evaluate(policy, make_world, method, episodes=2, seed=0, device=torch.device("cpu"))
    assert [(episode.steps, episode.cut) for episode in played] == [(4, True), (4, True)]


def test_a_film_of_a_long_game_keeps_evenly_spaced_pictures(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation_module, "MOST_PICTURES", 8)
    film = Film()
    for number in range(50):
        film.add(np.full((4, 5, 3), number, dtype=np.uint8))
    numbers = [int(picture[0, 0, 0]) for picture in film.pictures]
    assert len(numbers) <= 8
    assert len(set(np.diff(numbers))) == 1
    write_video(film.pictures, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as video:
        assert video.n_frames == len(numbers)  # pyright: ignore[reportAttributeAccessIssue]
        assert video.size == (5, 4)


def test_a_curve_is_the_mean_of_the_last_games():
    games = [[10, 1.0, 10], [20, 3.0, 10], [95, 8.0, 75]]
    curve = game_curve(games, 100, window=2)
    assert np.isnan(curve[18])  # step 9.5
    assert curve[19] == 1.0
    assert curve[39] == 2.0
    assert curve[-1] == 5.5
