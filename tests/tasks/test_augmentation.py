import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubtune.tasks.augmentation import crop, flip, pad_crop, random_resized_crop

VARIATIONS = [flip, pad_crop, random_resized_crop, crop]
SIZES = [(32, 32), (20, 28), (80, 80), (70, 96)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n, size, seed=0):
    return torch.randint(0, 256, (n, 3, *size), dtype=torch.uint8, generator=seeded(seed))


@pytest.mark.parametrize("vary", VARIATIONS)
@pytest.mark.parametrize("size", SIZES)
def test_same_size_same_generator_same_result(vary, size):
    canvas = noise(6, size)
    before = canvas.clone()
    first, again, other = vary(canvas, seeded()), vary(canvas, seeded()), vary(canvas, seeded(1))
    assert first.shape == canvas.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(canvas, before)


@pytest.mark.parametrize("vary", VARIATIONS)
def test_a_sample_depends_on_itself_alone(vary):
    canvas, others = noise(6, (32, 32)), noise(6, (32, 32), seed=1)
    others[2] = canvas[2]
    assert torch.equal(vary(canvas, seeded())[2], vary(others, seeded())[2])


def test_a_flip_is_the_image_or_its_mirror():
    canvas = noise(40, (4, 4))
    flipped = flip(canvas, seeded())
    mirrored = (flipped == canvas.flip(-1)).flatten(1).all(1)
    assert (mirrored | (flipped == canvas).flatten(1).all(1)).all()
    assert 5 < mirrored.sum() < 35


@given(st.integers(0, 1000))
def test_a_padded_crop_is_a_shift_by_up_to_an_eighth(seed):
    H, W = 16, 24
    canvas = (torch.arange(1, H + 1)[:, None] * 10 + torch.arange(W)).clamp(max=255).to(torch.uint8).expand(1, 3, H, W)
    out = pad_crop(canvas, seeded(seed))
    dy, dx = -(H // 8), -(W // 8)
    padded = torch.nn.functional.pad(canvas, (-dx, -dx, -dy, -dy))
    windows = [padded[..., y : y + H, x : x + W] for y in range(1 - 2 * dy) for x in range(1 - 2 * dx)]
    assert any(torch.equal(out, window) for window in windows)


def test_all_shifts_occur():
    canvas = torch.zeros(400, 1, 8, 8, dtype=torch.uint8)
    canvas[:, :, 4, 4] = 255
    assert pad_crop(canvas, seeded()).flatten(2).argmax(-1).unique().numel() == 9


def test_a_resized_crop_of_a_constant_image_is_constant_and_of_a_ramp_a_ramp():
    assert (random_resized_crop(torch.full((5, 3, 70, 70), 77, dtype=torch.uint8), seeded()) == 77).all()
    ramp = torch.arange(100, dtype=torch.uint8).expand(20, 3, 100, 100)
    out = random_resized_crop(ramp, seeded()).int()
    assert (out.diff(dim=-1) >= 0).all()
    spans = (out[:, 0, 0, -1] - out[:, 0, 0, 0]).float() / 99
    assert spans.min() > 0.2
    assert spans.max() <= 1
    assert spans.std() > 0.1


def test_crops_are_padded_up_to_64_pixels_and_resized_beyond():
    small, large = noise(2, (64, 64)), noise(2, (64, 65))
    assert torch.equal(crop(small, seeded()), pad_crop(small, seeded()))
    assert torch.equal(crop(large, seeded()), random_resized_crop(large, seeded()))
