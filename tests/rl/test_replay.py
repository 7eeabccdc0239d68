"""What is remembered, and how it is drawn."""

import numpy as np
import pytest
import torch

from hubtune.rl import replay as replay_module
from hubtune.rl.replay import Replay
from hubtune.rl.sum_tree import SumTree

CPU = torch.device("cpu")


def frame(number: int) -> np.ndarray:
    return np.full((3, 3), number % 250 + 1, dtype=np.uint8)


def made(capacity: int = 40, history: int = 3, n_step: int = 4, discount: float = 0.5, exponent: float = 0.5) -> Replay:
    return Replay(capacity, 3, history=history, n_step=n_step, discount=discount, exponent=exponent)


def filled(count: int, ended: tuple[int, ...] = (), cut: tuple[int, ...] = (), first: tuple[int, ...] = (0,), **options) -> Replay:
    replay = made(**options)
    for t in range(count):
        replay.add(frame(t), t % 5, float(t), ended=t in ended, cut=t in cut, first=t in first)
    return replay


def test_a_sum_tree_finds_what_a_running_sum_finds():
    generator = np.random.default_rng(0)
    for size in (1, 2, 7, 64, 100):
        tree, weights = SumTree(size), generator.random(size) * (generator.random(size) < 0.7)
        weights[-1] = 0.5
        tree.fill(weights)
        assert tree.total == pytest.approx(weights.sum())
        masses = generator.random(500) * tree.total
        expected = np.searchsorted(np.cumsum(weights), masses, side="right")
        assert (tree.find(masses) == np.minimum(expected, size - 1)).mean() > 0.99
        assert (weights[tree.find(masses)] > 0).all()
        assert (weights[tree.find(np.array([0.0, tree.total]))] > 0).all()


def test_a_sum_tree_filled_again_is_the_same_bit_for_bit():
    generator, tree = np.random.default_rng(1), SumTree(33)
    for _ in range(200):
        tree.set(generator.integers(0, 33, 5), generator.random(5))
        tree.set_one(int(generator.integers(0, 33)), generator.random())
    again = SumTree(33)
    again.fill(tree.leaves.copy())
    assert np.array_equal(tree._nodes, again._nodes)


def test_n_step_returns_agree_with_a_hand_computation():
    replay = filled(12, ended=(6,))
    returns, discounts = replay.outlook(np.array([0, 3, 5, 6, 7]))
    # r_t = t, gamma = 1/2, n = 4; the episode ends with the action of row 6.
    expected = [0 + 0.5 * 1 + 0.25 * 2 + 0.125 * 3, 3 + 0.5 * 4 + 0.25 * 5 + 0.125 * 6, 5 + 0.5 * 6, 6, 7 + 0.5 * 8 + 0.25 * 9 + 0.125 * 10]
    np.testing.assert_allclose(returns, expected)
    np.testing.assert_allclose(discounts, [0.5**4, 0, 0, 0, 0.5**4])


def test_stacks_are_black_before_a_game_and_go_on_after_a_lost_life():
    replay = filled(12, ended=(3, 6), first=(0, 7))
    stacks = replay.stacks(np.array([0, 1, 4, 7, 8, 9]))[:, :, 0, 0]
    expected = [[0, 0, 1], [0, 1, 2], [3, 4, 5], [0, 0, 8], [0, 8, 9], [8, 9, 10]]
    assert stacks.tolist() == expected


def test_rows_are_drawn_from_n_steps_later_on_and_not_beyond_a_time_limit():
    replay = filled(4)
    assert not replay.ready
    replay = filled(20, cut=(9,), ended=(15,), first=(0, 10))
    drawable = set(np.flatnonzero(replay.tree.leaves).tolist())
    # The four rows up to the cut look past it; the last four are not complete.
    assert drawable == set(range(16)) - {6, 7, 8, 9}


@pytest.mark.parametrize("count", [39, 40, 41, 95, 163])
def test_whatever_is_drawn_is_what_was_added(count):
    replay = filled(count)
    torch.manual_seed(0)
    batch = replay.draw(64, 0.4, CPU)
    rows = (count - len(replay) + (batch.indices - (count - len(replay))) % replay.capacity).tolist()
    for b, t in enumerate(rows):
        assert batch.canvas[b, :, 0, 0].tolist() == [0 if s < 0 else s % 250 + 1 for s in (t - 2, t - 1, t)]
        assert batch.later[b, :, 0, 0].tolist() == [0 if s < 0 else s % 250 + 1 for s in (t + 2, t + 3, t + 4)]
        assert batch.targets[b] == t % 5
        assert batch.returns[b] == pytest.approx(sum(0.5**k * (t + k) for k in range(4)))
    assert len(batch) == 64


def test_rows_are_drawn_in_proportion_to_their_priorities_and_weighted_against_it():
    replay = filled(20)
    losses = torch.arange(1, 17).float()
    replay.learned(torch.arange(16), losses)
    torch.manual_seed(0)
    batch = replay.draw(4096, 0.4, CPU)
    probabilities = losses.sqrt() / losses.sqrt().sum()
    found = batch.indices.bincount(minlength=16) / 4096
    torch.testing.assert_close(found.float(), probabilities, atol=1e-3, rtol=0)  # stratified: nearly exact
    weights = probabilities[batch.indices] ** -0.4
    torch.testing.assert_close(batch.weights, weights / weights.max())


def test_a_new_row_has_the_largest_priority_so_far():
    replay = filled(10)
    replay.learned(torch.tensor([0, 1]), torch.tensor([9.0, 0.25]))
    replay.add(frame(10), 0, 0.0, ended=False, cut=False, first=False)
    assert replay.tree.leaves[6] == pytest.approx(3.0)
    assert replay.tree.leaves[1] == pytest.approx(0.5)


@pytest.mark.parametrize("count", [3, 15, 16, 40, 41, 57, 100])
def test_a_replay_is_restored_bit_for_bit_and_goes_on_alike(count, monkeypatch, tmp_path):
    monkeypatch.setattr(replay_module, "CHUNK", 8)
    replay = filled(count, ended=(5, 30), first=(0, 31))
    replay.state_dict()  # an earlier checkpoint, whose compressed chunks are used again
    for t in range(count, count + 5):
        replay.add(frame(t), 1, 2.0, ended=False, cut=False, first=False)
    torch.save(replay.state_dict(), tmp_path / "replay.pt")
    again = made()
    again.load_state_dict(torch.load(tmp_path / "replay.pt", weights_only=True))
    for t in range(count + 5, count + 60):
        for each in (replay, again):
            each.add(frame(t), 1, 2.0, ended=False, cut=False, first=False)
        if t % 7 == 0:
            batches = []
            for each in (replay, again):
                torch.manual_seed(t)
                batches.append(each.draw(16, 0.4, CPU))
                each.learned(batches[-1].indices, batches[-1].returns + 1)
            for name, value in vars(batches[0]).items():
                assert torch.equal(value, getattr(batches[1], name)), name
    assert np.array_equal(replay.tree._nodes, again.tree._nodes)
