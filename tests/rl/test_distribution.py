"""Laws of the distributional target."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubtune.rl.distribution import cross_entropy, project, support, values

ATOMS = support(51, -10.0, 10.0)


def drawn(seed: int, rows: int = 6, concentration: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (concentration * torch.randn(rows, 51, generator=generator)).softmax(1)


@given(st.integers(0, 10_000), st.floats(-30, 30), st.floats(0, 1))
def test_mass_stays_one_and_nothing_is_negative(seed, reward, discount):
    projected = project(drawn(seed), torch.full((6,), reward), torch.full((6,), discount), ATOMS)
    torch.testing.assert_close(projected.sum(1), torch.ones(6))
    assert projected.min() >= 0


@given(st.integers(0, 10_000), st.floats(-4, 4), st.floats(0, 0.6))
def test_the_mean_is_kept_when_nothing_is_clipped(seed, reward, discount):
    probabilities = drawn(seed)
    projected = project(probabilities, torch.full((6,), reward), torch.full((6,), discount), ATOMS)
    torch.testing.assert_close(projected @ ATOMS, reward + discount * (probabilities @ ATOMS), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("reward", "clipped"), [(3.0, 3.0), (0.13, 0.13), (25.0, 10.0), (-25.0, -10.0), (10.0, 10.0), (-10.0, -10.0)])
def test_a_zero_discount_puts_the_mass_on_the_clipped_reward(reward, clipped):
    projected = project(drawn(0), torch.full((6,), reward), torch.zeros(6), ATOMS)
    torch.testing.assert_close(projected @ ATOMS, torch.full((6,), clipped), atol=1e-5, rtol=0)
    assert (projected > 1e-4).sum(1).max() <= 2


def test_it_is_the_identity_where_nothing_moves():
    probabilities = drawn(1)
    torch.testing.assert_close(project(probabilities, torch.zeros(6), torch.ones(6), ATOMS), probabilities, atol=1e-5, rtol=0)


def test_it_agrees_with_the_formula_atom_by_atom():
    probabilities, rewards, discounts = drawn(2).double(), torch.linspace(-12, 12, 6).double(), torch.linspace(0, 1, 6).double()
    atoms = torch.linspace(-10, 10, 51, dtype=torch.float64)
    spacing = atoms[1] - atoms[0]
    expected = torch.zeros(6, 51, dtype=torch.float64)
    for b in range(6):
        for j in range(51):
            moved = (rewards[b] + discounts[b] * atoms[j]).clamp(-10, 10)
            for i in range(51):
                expected[b, i] += probabilities[b, j] * (1 - (moved - atoms[i]).abs() / spacing).clamp_min(0)
    torch.testing.assert_close(project(probabilities, rewards, discounts, atoms), expected)


def test_values_and_loss_are_of_the_softmax_over_the_atoms():
    logits, actions = torch.randn(6, 51, 3, generator=torch.Generator().manual_seed(3)), torch.tensor([0, 1, 2, 0, 1, 2])
    taken = torch.stack([logits[b, :, a] for b, a in enumerate(actions)]).softmax(1)
    torch.testing.assert_close(values(logits, ATOMS)[range(6), actions], taken @ ATOMS)
    target = drawn(4)
    torch.testing.assert_close(cross_entropy(logits, actions, target), -(target * taken.log()).sum(1))
    # Least where the distribution is the target: there it is the entropy.
    exact = target.log()[:, :, None].expand(-1, -1, 3)
    torch.testing.assert_close(cross_entropy(exact, actions, target), -(target * target.log()).sum(1))
