import pytest
import torch
import torch.nn.functional as F

from hubtune.training import small_maps
from hubtune.training.double_backward import _convolve, _input_gradient, _weight_gradient


@pytest.fixture(autouse=True)
def _few_channels(monkeypatch):
    monkeypatch.setattr(small_maps, "LEAST_CHANNELS", 1)
    monkeypatch.setattr(small_maps, "LARGEST", 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (1, 4), (4, 3)])
def test_outputs_and_gradients_are_those_of_a_convolution(height, width, kernel, layout):
    generator = torch.Generator().manual_seed(0)
    x, weight, g = (
        torch.randn(shape, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
        for shape in ((3, 4, height, width), (5, 4, kernel, kernel), (3, 5, height, width))
    )
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    options = ((1, 1), (kernel // 2, kernel // 2), (1, 1), 1)
    assert small_maps.is_small(x, weight, options, 4)
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    y = F.conv2d(x, weight, bias, padding=kernel // 2)
    expected = (y.detach(), *torch.autograd.grad(y, leaves, g))
    with torch.no_grad():
        found = (_convolve(x, weight, options, bias), _input_gradient(g, x, weight, options), _weight_gradient(g, x, weight, options))
    for theirs, own in zip(expected, found, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "weight", "options"),
    [
        ((1, 4, 5, 2), (4, 4, 3, 3), ((1, 1), (1, 1), (1, 1), 1)),
        ((1, 4, 2, 2), (4, 4, 3, 3), ((2, 2), (1, 1), (1, 1), 1)),
        ((1, 4, 2, 2), (4, 4, 3, 3), ((1, 1), (0, 0), (1, 1), 1)),
        ((1, 4, 2, 2), (4, 4, 3, 3), ((1, 1), (1, 1), (2, 2), 1)),
        ((1, 4, 2, 2), (4, 2, 3, 3), ((1, 1), (1, 1), (1, 1), 2)),
        ((1, 4, 2, 2), (4, 4, 2, 2), ((1, 1), (1, 1), (1, 1), 1)),
        ((1, 4, 2, 2), (4, 4, 3, 1), ((1, 1), (1, 0), (1, 1), 1)),
    ],
)
def test_all_others_are_left_to_torch(shape, weight, options):
    assert not small_maps.is_small(torch.zeros(shape), torch.zeros(weight), options, 4)


def test_narrow_maps_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(small_maps, "LEAST_CHANNELS", 8)
    options = ((1, 1), (1, 1), (1, 1), 1)
    assert small_maps.is_small(torch.zeros(1, 8, 2, 2), torch.zeros(8, 8, 3, 3), options, 4)
    assert not small_maps.is_small(torch.zeros(1, 8, 2, 2), torch.zeros(4, 8, 3, 3), options, 4)
