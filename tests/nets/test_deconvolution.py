import pytest
import torch

from hubtune.nets import DeconvolutionHead

SHAPES = [(8, 32, 32), (16, 8, 8), (32, 4, 4), (64, 1, 1)]


@pytest.mark.parametrize(("size", "level", "doublings"), [(64, 1, 3), (32, 2, 3), (16, 2, 2), (4, 3, 2), (8, 3, 3), (512, 0, 4)])
def test_the_deepest_map_that_three_doublings_bring_to_the_size(size, level, doublings):
    head = DeconvolutionHead.on(SHAPES, outputs=5, size=size, channels=4)
    assert head.level == level
    assert sum(isinstance(layer, torch.nn.ConvTranspose2d) for layer in head.layers) == doublings
    maps = [torch.randn(2, *shape) for shape in SHAPES]
    assert head(maps).shape == (2, 5, size, size)


def test_sizes_that_doubling_misses_are_met():
    head = DeconvolutionHead.on([(8, 7, 7)], outputs=3, size=64, channels=4)
    assert sum(isinstance(layer, torch.nn.ConvTranspose2d) for layer in head.layers) == 3
    assert head([torch.randn(1, 8, 7, 7)]).shape == (1, 3, 64, 64)


def test_at_first_every_place_answers_nothing():
    head = DeconvolutionHead.on(SHAPES, outputs=5, size=32)
    assert head([torch.randn(2, *shape) for shape in SHAPES]).abs().max() < 0.5
