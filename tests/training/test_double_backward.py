import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from hubtune.training.double_backward import with_cheap_double_backward


def make_network(norm=nn.BatchNorm2d, **options):
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False)
    first = nn.Conv2d(3, 4, 3, padding=1, stride=2)
    network = nn.Sequential(first, norm(4, **options), nn.Tanh(), convolution, norm(6, **options), nn.Conv2d(6, 2, 1))
    for layer in (network[1], network[4]):
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return network.double()


def derivatives(network, x):
    """Loss, gradient, Hessian product, and mixed product with per-sample weights, all as one vector each."""
    params = list(network.parameters())
    torch.manual_seed(1)
    v = [torch.randn_like(p) for p in params]
    weights = torch.rand(len(x), dtype=x.dtype).requires_grad_()
    loss = (weights * network(x).sin().square().mean((1, 2, 3))).sum()
    gradient = torch.autograd.grad(loss, params, create_graph=True)
    hessian = torch.autograd.grad(gradient, params, v, retain_graph=True)
    mixed = torch.autograd.grad(gradient, [weights], v)
    return [torch.cat([y.detach().flatten() for y in ys]) for ys in ([loss], gradient, hessian, mixed)]


ACTIVATED = {"norm": BatchNormAct2d, "act_layer": nn.SiLU}


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"track_running_stats": False}, ACTIVATED])
def test_all_derivatives_and_statistics_equal_those_of_torch(options):
    network = make_network(**options)
    cheap = with_cheap_double_backward(copy.deepcopy(network))
    x = torch.randn(5, 3, 8, 8, dtype=torch.float64)
    for theirs, own in zip(derivatives(network, x), derivatives(cheap, x), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-10, atol=1e-12)
    for (name, theirs), own in zip(network.named_buffers(), cheap.buffers(), strict=True):
        torch.testing.assert_close(own, theirs, msg=name)


def test_what_a_product_does_not_need_is_not_computed(monkeypatch):
    from hubtune.training import double_backward

    cheap = with_cheap_double_backward(make_network())
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    params = list(cheap.parameters())
    loss = weight * cheap(torch.randn(4, 3, 8, 8, dtype=torch.float64)).square().mean()
    gradient = torch.autograd.grad(loss, params, create_graph=True)

    def refuse(*arguments):
        raise AssertionError("computed a term of second order in the parameters")

    monkeypatch.setattr(double_backward, "_input_gradient", refuse)
    monkeypatch.setattr(double_backward, "_weight_gradient", refuse)
    torch.autograd.grad(gradient, [weight], [torch.ones_like(p) for p in params], retain_graph=True)
    with pytest.raises(AssertionError, match="second order"):
        torch.autograd.grad(gradient, params[:1], [torch.ones_like(p) for p in params])


def test_evaluation_mode_is_the_ordinary_one():
    network = make_network().eval()
    cheap = with_cheap_double_backward(copy.deepcopy(network))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(network(x), cheap(x))
