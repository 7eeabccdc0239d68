"""Atari games as worlds; skipped where they are not installed."""

import numpy as np
import pytest
import torch

from hubtune.errors import UnknownNameError
from hubtune.rl import Scratch, world_named
from hubtune.rl.acting import Player
from hubtune.rl.replay import Replay
from hubtune.rl.world import full_name

pytest.importorskip("ale_py")
pytest.importorskip("gymnasium")

from hubtune.rl.atari import game_named, games


@pytest.mark.parametrize("name", ["Gopher", "gopher", "ALE/Gopher-v5", "Gopher-v5"])
def test_a_game_is_known_by_several_names(name):
    assert game_named(name) == full_name(name) == "Gopher"


def test_an_unknown_game_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'Seaquest'"):
        game_named("Seequest")
    assert {"Alien", "Jamesbond", "Riverraid"} <= set(games())
    assert game_named("ms_pacman") == "MsPacman"


def test_everything_follows_from_the_seed_and_the_actions():
    world = world_named("Riverraid", Scratch())()
    assert len(world.actions) == 18

    def played(seed):
        frames = [world.reset(seed), *(world.step(action % 8).frame for action in range(30))]
        return np.stack(frames)

    first = played(5)
    assert first.shape == (31, 84, 84)
    assert np.array_equal(first, played(5))
    assert not all(np.array_equal(first, played(seed)) for seed in range(6, 12))  # another number of no-ops
    assert world.picture().shape == (210, 160, 3)
    world.close()


def test_lives_are_lost_before_a_game_is_over_and_a_limit_cuts_it():
    world = world_named("Alien", Scratch())()
    world.reset(0)
    outcomes = []
    while not outcomes or not outcomes[-1].over:
        outcomes.append(world.step(len(outcomes) % 5))
    assert sum(outcome.died for outcome in outcomes) == 3
    assert not any(outcome.cut for outcome in outcomes)
    world = world_named("Alien", Scratch(episode_frames=40))()
    world.reset(0)
    assert [world.step(0).cut for _ in range(10)] == [False] * 9 + [True]


def test_a_game_under_way_is_found_again():
    settings = Scratch(no_ops=8)

    def player():
        return Player(world_named("Gopher", settings)(), settings, seed=1)

    def replay():
        return Replay(100, 84, history=4, n_step=3, discount=0.99, exponent=0.5)

    first, memory = player(), replay()
    for step in range(40):
        first.play(step % 8, memory)
    again = player()
    again.load_state_dict(torch.load(_saved(first), weights_only=True))
    others = replay()
    for step in range(20):
        assert np.array_equal(first.stack, again.stack)
        first.play(step % 8, memory)
        again.play(step % 8, others)


def _saved(player: Player):
    import io

    file = io.BytesIO()
    torch.save(player.state_dict(), file)
    file.seek(0)
    return file
