"""Another library's parts agree with ours; skipped where it is not installed."""

import numpy as np
import pytest
import torch

from hubtune.nets import NoisyLinear
from hubtune.rl.sum_tree import SumTree

pytest.importorskip("tianshou")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_noisy_layer():
    from tianshou.utils.net.discrete import NoisyLinear as Theirs

    torch.manual_seed(0)
    theirs, ours = Theirs(7, 5, noisy_std=0.3), NoisyLinear(7, 5, sigma=0.3)
    torch.testing.assert_close(ours.weight_sigma, theirs.sigma_W.data)
    torch.testing.assert_close(ours.bias_sigma, theirs.sigma_bias.data)
    with torch.no_grad():
        for own, other in ((ours.weight, theirs.mu_W), (ours.bias, theirs.mu_bias)):
            own.copy_(other)
        theirs.sample()
        ours.noise_in.copy_(theirs.eps_p)
        ours.noise_out.copy_(theirs.eps_q)
    x = torch.randn(4, 7)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_a_tree_of_sums():
    from tianshou.data import SegmentTree

    generator = np.random.default_rng(0)
    theirs, ours = SegmentTree(50), SumTree(50)
    weights = generator.random(50) + 0.01
    theirs[np.arange(50)] = weights
    ours.fill(weights)
    masses = generator.random(200) * ours.total
    assert ours.total == pytest.approx(theirs.reduce())
    assert np.array_equal(ours.find(masses), theirs.get_prefix_sum_idx(masses))
