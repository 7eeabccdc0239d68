import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from hubtune.errors import DataError
from hubtune.tasks.images import SMALL_SIDE, array_to_rgb, decode, inspect, squash, stack_to_rgb

RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
RGB = np.stack([RAMP, RAMP.T, 255 - RAMP], -1)


def grey(pixels):
    return np.repeat(pixels[..., None], 3, -1)


def test_rgb_is_as_it_was(pictures):
    assert (decode(pictures.encoded(Image.fromarray(RGB))) == RGB).all()


def test_greyscale_repeats_its_channel(pictures):
    assert (decode(pictures.encoded(Image.fromarray(RAMP))) == grey(RAMP)).all()


def test_black_and_white_uses_the_whole_range(pictures):
    bits = RAMP > 100
    assert (decode(pictures.encoded(Image.fromarray(bits))) == grey(bits * np.uint8(255))).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_greyscale_is_scaled_not_clipped(pictures, kind):
    assert (decode(pictures.encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), kind)) == grey(RAMP)).all()


def test_sixteen_bits_in_thirty_two_are_scaled_and_more_is_refused(pictures):
    assert (decode(pictures.encoded(Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF")) == grey(RAMP)).all()
    with pytest.raises(DataError, match=r"from 0 to 70000; expected 16 bits"):
        decode(pictures.encoded(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF"))


@pytest.mark.parametrize("scale", [1, 255])
def test_floating_point_files_hold_unit_or_byte_range(pictures, scale):
    unit = (RAMP / RAMP.max()).astype(np.float32)
    expected = np.rint(unit * np.float32(255)).astype(np.uint8)
    assert (decode(pictures.encoded(Image.fromarray(unit * np.float32(scale)), "TIFF")) == grey(expected)).all()


@pytest.mark.parametrize("pixels", [[[-1.0, 1.0]], [[0.0, 300.0]], [[float("nan"), 0.5]]])
def test_other_floating_point_ranges_are_refused(pixels):
    with pytest.raises(DataError, match=r"range from .*expected 0\.\.1 or 0\.\.255"):
        decode(np.array(pixels))


def test_transparency_is_composited_on_white(pictures):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0], pixels[0, :, 3] = 100, (0, 128, 255)
    half = [round((c * 128 + 255 * 127) / 255) for c in (100, 0, 0)]
    expected = [[[255, 255, 255], half, [100, 0, 0]]]
    assert decode(pictures.encoded(Image.fromarray(pixels))).tolist() == expected
    assert decode(pixels).tolist() == expected


def test_grey_with_transparency(pictures):
    pixels = np.array([[[100, 255], [100, 0]]], np.uint8)
    assert decode(pictures.encoded(Image.fromarray(pixels))).tolist() == [[[100] * 3, [255] * 3]]
    assert decode(pixels).tolist() == [[[100] * 3, [255] * 3]]


@pytest.mark.parametrize("options", [{}, {"transparency": 1}, {"transparency": b"\xff\x00"}])
def test_palette_with_and_without_transparency(pictures, options):
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    second = [255, 255, 255] if options else [40, 50, 60]
    assert decode(pictures.encoded(image, **options)).tolist() == [[[10, 20, 30], second]]


def test_one_colour_declared_transparent(pictures):
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decode(pictures.encoded(image, transparency=(4, 5, 6))).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_cmyk(pictures):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert decode(pictures.encoded(image, "TIFF"))[0, 0].tolist() == [255, 0, 0]
    assert np.abs(decode(pictures.encoded(image, "JPEG", quality=95)).astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientation_in_the_metadata_is_applied(pictures, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = pictures.encoded(Image.fromarray(RGB[:5]), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"))
    assert (decode(encoded) == upright).all()
    assert (upright.shape == RGB[:5].shape) == (orientation < 5)
    found = inspect(encoded)
    assert (found.height, found.width) == upright.shape[:2]


def test_broken_metadata_leave_the_pixels_as_they_are(pictures):
    encoded = pictures.encoded(Image.fromarray(RGB), exif=b"Exif\x00\x00MM\x00*\x00\x00\xff")
    assert (decode(encoded) == RGB).all()


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_orientation_of_a_large_image_counts_for_its_size(pictures, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = pictures.encoded(Image.new("RGB", (SMALL_SIDE + 44, 40), "red"), kind, exif=exif)
    found = inspect(encoded)
    assert (found.height, found.width, found.pixels) == ((SMALL_SIDE + 44, 40, None) if orientation == 6 else (40, SMALL_SIDE + 44, None))
    assert decode(encoded).shape == (found.height, found.width, 3)


def test_of_an_animation_the_first_frame(pictures):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    assert (decode(pictures.encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == 10).all()


def test_paths_bytes_arrays_and_pillow_images_agree(tmp_path, pictures):
    encoded = pictures.png(0)
    path = tmp_path / "a.png"
    path.write_bytes(encoded)
    for source in (encoded, path, str(path), pictures.array(0), Image.fromarray(pictures.array(0))):
        assert (decode(source) == pictures.array(0)).all()
    assert inspect(path).key == inspect(encoded).key != inspect(pictures.array(0)).key


def test_what_cannot_be_read_says_why(tmp_path, pictures):
    noise = pictures.encoded(Image.fromarray(pictures.array(0, (300, 300))), "JPEG")
    for source, reason in [
        (b"no image", "not an image in a known format"),
        (b"", "empty"),
        (pictures.png(0)[:-40], "truncated|broken"),
        (noise[: len(noise) // 2], "truncated"),
        (tmp_path / "none.png", "file not found"),
        (np.zeros((2, 2), "datetime64[s]"), "not understood"),
        (np.zeros((3, 8, 8), np.uint8), "expected"),
        (np.zeros((2, 3, 8, 8), np.uint8), "not one image"),
    ]:
        with pytest.raises(DataError, match=reason):
            inspect(source)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_every_grey_width_means_the_same(values):
    expected = grey(values)
    assert (decode(values) == expected).all()
    assert (decode(values.astype(np.uint16) * 257) == expected).all()
    assert (decode(values[..., None]) == expected).all()
    assert (decode(values.astype(np.int64)) == expected).all()
    assert (array_to_rgb(np.stack([grey(values)] * 2)) == expected).all()


@given(hnp.arrays(np.uint8, (3, 5, 6, 3)))
def test_stacks_may_have_channels_first_or_last_or_none(stack):
    assert (stack_to_rgb(stack) == stack).all()
    assert (stack_to_rgb(stack.transpose(0, 3, 1, 2)) == stack).all()
    assert (stack_to_rgb(stack[..., 0]) == grey(stack[..., 0])).all()


@given(st.integers(1, 12), st.integers(0, 255))
def test_squash_keeps_constant_images_and_its_own_size(size, value):
    pixels = np.full((5, 9, 3), value, np.uint8)
    assert (squash(pixels, size) == value).all()
    assert squash(pixels, size).shape == (size, size, 3)
    assert squash(RGB, 8) is RGB
