import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hubtune.training.flops import flops


class Attention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x)


def test_a_multiply_add_is_two_operations():
    assert flops(nn.Linear(8, 4), torch.zeros(3, 8)) == 2 * 3 * 8 * 4
    assert flops(nn.Conv2d(3, 5, 3, padding=1), torch.zeros(2, 3, 6, 6)) == 2 * 2 * 36 * 5 * 27


def test_attention_is_counted_whatever_form_it_takes():
    heads, tokens, width = 2, 17, 12
    assert flops(Attention(), torch.zeros(1, heads, tokens, width)) == 2 * 2 * heads * tokens**2 * width


def test_counting_leaves_no_gradient():
    network = nn.Linear(2, 1)
    flops(network, torch.ones(1, 2))
    assert network.weight.grad is None
    assert flops(network, torch.ones(4, 2)) == pytest.approx(4 * flops(network, torch.ones(1, 2)))
