"""Feature matrices of every kind an estimator must handle: tall, wide, and not of full rank either way."""

import pytest
import torch


def draw(count: int, dim: int, rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 features of 4 classes around different means, in a random subspace of the given rank, and labels of uneven counts."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 1, 1, 2, 3, 3, 3]).repeat(count // 7 + 1)[:count][torch.randperm(count, generator=generator)]
    inner = torch.randn(count, rank, generator=generator, dtype=torch.float64)
    inner += 0.8 * torch.randn(4, rank, generator=generator, dtype=torch.float64)[labels]
    basis = torch.randn(rank, dim, generator=generator, dtype=torch.float64)
    shift = torch.rand(dim, generator=generator, dtype=torch.float64)
    return (inner if rank == dim else inner @ basis) + shift, labels


SHAPES = {"tall": (60, 7, 7), "wide": (25, 40, 40), "square": (24, 24, 24), "tall-deficient": (50, 20, 6), "wide-deficient": (30, 45, 5)}


@pytest.fixture(params=SHAPES)
def sample(request):
    """(features, labels) of each shape in turn."""
    return draw(*SHAPES[request.param], seed=3)


@pytest.fixture
def draw_sample():
    return draw
