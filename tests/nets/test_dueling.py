"""Noisy layers, the dueling head and the network under them."""

import timm
import torch

from hubtune.nets import DuelingHead, NoisyLinear, draw_noise


def test_noise_is_factorised_and_as_large_as_sigma_says():
    torch.manual_seed(0)
    layer = NoisyLinear(4, 3, sigma=0.5).train()
    layer.draw()
    x = torch.randn(5, 4)
    weight = layer.weight + layer.weight_sigma * torch.outer(layer.noise_out, layer.noise_in)
    bias = layer.bias + layer.bias_sigma * layer.noise_out
    torch.testing.assert_close(layer(x), x @ weight.T + bias)
    assert torch.equal(layer.weight_sigma, torch.full((3, 4), 0.5 / 2))
    # E f(e)^2 = E |e| = sqrt(2 / pi)
    drawn = torch.stack([_drawn(layer) for _ in range(4000)])
    torch.testing.assert_close(drawn.square().mean(), torch.tensor(2 / torch.pi).sqrt(), atol=0.03, rtol=0)


def _drawn(layer: NoisyLinear) -> torch.Tensor:
    layer.draw()
    return layer.noise_in.clone()


def test_noise_stays_until_it_is_drawn_and_is_off_in_evaluation():
    torch.manual_seed(0)
    head, x = DuelingHead(6, 4, atoms=5, hidden=8), torch.randn(3, 6)
    draw_noise(head)
    first = head(x)
    assert torch.equal(first, head(x))
    draw_noise(head)
    assert not torch.equal(first, head(x))
    head.eval()
    quiet = head(x)
    draw_noise(head)
    assert torch.equal(quiet, head(x))


def test_advantages_have_no_mean():
    """The mean over the actions is the value stream's alone."""
    torch.manual_seed(0)
    head, x = DuelingHead(6, 4, atoms=5, hidden=8).eval(), torch.randn(3, 6)
    torch.testing.assert_close(head(x).mean(2), head.value(x))
    assert head(x).shape == (3, 5, 4)


def test_a_head_is_rebuilt_from_its_description():
    head = DuelingHead(6, 4, atoms=5, hidden=8, sigma=0.3)
    again = DuelingHead.from_spec(head.spec(), head.out_features)
    again.load_state_dict(head.state_dict())
    assert again.spec() == head.spec()


def test_the_network_has_the_papers_sizes():
    network = timm.create_model("data_efficient_cnn", img_size=84, in_chans=4, num_classes=0)
    x = torch.zeros(2, 4, 84, 84)
    assert network(x).shape == (2, 576)
    assert [tuple(y.shape[1:]) for y in network.forward_intermediates(x, intermediates_only=True)] == [(32, 16, 16), (64, 3, 3)]
    assert sum(p.numel() for p in network.parameters()) == 54_496
