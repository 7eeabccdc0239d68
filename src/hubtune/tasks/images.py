"""Any image, one form: RGB, eight bits, upright.

What becomes of the other kinds:

- greyscale and black-and-white images repeat their channel; 16-bit greyscale is scaled (65535 becomes 255), not clipped;
- transparency is composited on white, as a page or a browser shows it;
- palette, CMYK and YCbCr images are converted as Pillow does;
- floating-point images hold values in 0..1 (scaled by 255) or in 0..255 (rounded); other ranges are refused, not guessed;
- an orientation in the file's metadata is applied; of an animation the first frame is taken.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hubtune.errors import DataError

# An image with a longer side is decoded in full only when a canvas asks for it.
SMALL_SIDE = 256
_METADATA = ("exif", "Exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@runtime_checkable
class LazyImage(Protocol):
    """An image that some other library opens each time it is asked."""

    def load(self) -> Image.Image: ...


ImageSource = bytes | str | Path | np.ndarray | Image.Image | LazyImage


@dataclass(frozen=True)
class Inspected:
    """What is known of an image once it has been read to its end."""

    key: str
    """sha256 of the encoded bytes, or of the shape and pixels of an image that never was encoded"""
    height: int
    width: int
    pixels: UInt8[np.ndarray, "H W 3"] | None
    """the decoded image, where it is small"""
    highest: int | None = None
    """the largest value of a file of 16-bit greyscale, before it is scaled"""


def decode(source: ImageSource) -> UInt8[np.ndarray, "H W 3"]:
    """The image as RGB, eight bits, upright.

    Args:
        source: encoded bytes, a file's path, a uint8 or uint16 array (H, W) or (H, W, 1 | 2 | 3 | 4), or a Pillow image.

    Raises:
        DataError: it cannot be read; the message says why.
    """
    try:
        if isinstance(source, np.ndarray):
            return _one_array(source)
        if isinstance(source, Image.Image):
            return _to_rgb(source)
        if isinstance(source, LazyImage):
            return _to_rgb(source.load())
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return _to_rgb(image)
    except Exception as error:  # Decoders raise whatever their parser met: OSError, SyntaxError, struct.error, zlib.error, ...
        raise DataError(_reason(error)) from error


def inspect(source: ImageSource) -> Inspected:
    """Read an image to its end, and tell its content hash and its size.

    Raises:
        DataError: it cannot be read; the message says why.
    """
    try:
        if isinstance(source, bytes | str | Path):
            return _inspect_encoded(source if isinstance(source, bytes) else Path(source).read_bytes())
    except Exception as error:  # As in decode.
        raise DataError(_reason(error)) from error
    pixels = decode(source)
    height, width, _ = pixels.shape
    digest = hashlib.sha256(f"{height}x{width}x3 ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return Inspected(digest.hexdigest(), height, width, pixels if max(height, width) <= SMALL_SIDE else None)


def _inspect_encoded(encoded: bytes) -> Inspected:
    if not encoded:
        raise DataError("it is empty")
    key = hashlib.sha256(encoded).hexdigest()
    with Image.open(io.BytesIO(encoded)) as image:
        width, height = image.size
        if max(width, height) > SMALL_SIDE:
            # A JPEG decoded at an eighth of its size still reads every byte, so a truncated file is found at a third of the cost.
            drafted = image.draft(image.mode, (1, 1)) is not None
            if drafted and _orientation(image) in (5, 6, 7, 8):
                width, height = height, width
            pixels = _to_rgb(image)
            if not drafted:
                # Pillow turns a TIFF upright itself, some versions of it before the image is loaded: its pixels alone tell the size.
                height, width, _ = pixels.shape
            return Inspected(key, height, width, None, _highest(image))
        pixels = _to_rgb(image)
        return Inspected(key, pixels.shape[0], pixels.shape[1], pixels, _highest(image))


def _highest(image: Image.Image) -> int | None:
    return int(np.asarray(image).max()) if image.mode.startswith("I") else None


def squash(pixels: UInt8[np.ndarray, "H W 3"], size: int | tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The image at another size, antialiased, its proportions not kept.

    Source: Zhai et al. (2019), the preprocessing of VTAB.

    Args:
        size: height and width in pixels; one number for both.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def array_to_rgb(pixels: np.ndarray) -> UInt8[np.ndarray, "*rest H W 3"]:
    """An image or a stack of images as RGB, eight bits.

    Args:
        pixels: (..., H, W, C) with one (grey), two (grey, alpha), three (RGB) or four (RGB, alpha) channels;
            bool, uint8, uint16, or numbers in 0..1 (floating point) or 0..255, the range being that of the whole stack.

    Raises:
        DataError: other shapes, types or ranges.
    """
    if pixels.ndim < 3 or not 1 <= pixels.shape[-1] <= 4 or 0 in pixels.shape[-3:]:
        raise DataError(f"an array of shape {pixels.shape} is no image; expected (H, W) or (H, W, C) with 1 to 4 channels")
    pixels = _to_eight_bits(pixels)
    channels = pixels.shape[-1]
    if channels in (2, 4):
        colour, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
        pixels = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1) if channels <= 2 else pixels


def stack_to_rgb(images: np.ndarray) -> UInt8[np.ndarray, "N H W 3"]:
    """Images of one size, (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 to 4 channels, as RGB, eight bits.

    Raises:
        DataError: as array_to_rgb, and for shapes that are no stack of images.
    """
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[-1] > 4 and images.shape[1] <= 4:
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4:
        raise DataError(f"an array of shape {images.shape} is no stack of images; expected (N, H, W), (N, H, W, C) or (N, C, H, W)")
    return np.ascontiguousarray(array_to_rgb(images))


def _one_array(pixels: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3:
        raise DataError(f"an array of shape {pixels.shape} is not one image; expected (H, W) or (H, W, C) with 1 to 4 channels")
    return array_to_rgb(pixels)


def _to_eight_bits(pixels: np.ndarray) -> np.ndarray:
    kind = pixels.dtype
    if kind == np.uint8:
        return pixels
    if kind == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if kind == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if not (np.issubdtype(kind, np.floating) or np.issubdtype(kind, np.integer)):
        raise DataError(f"pixels of type {kind} are not understood; expected uint8, uint16, bool or numbers in 0..255")
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (low >= 0 and high <= 255):
        raise DataError(f"pixels of type {kind} range from {low:g} to {high:g}; expected 0..1 or 0..255: scale them, or store 8 or 16 bits")
    if np.issubdtype(kind, np.floating):
        pixels = np.rint(pixels * 255 if high <= 1 else pixels)
    return pixels.astype(np.uint8)


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    image.load()
    orientation = _orientation(image)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith("I"):
        # 16-bit greyscale; mode I, 32 bits wide, is how Pillow reads it from some formats.
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DataError(
                f"greyscale values range from {values.min()} to {values.max()}; expected 16 bits, 0..65535: store it as 16-bit greyscale"
            )
        return _one_array(values.astype(np.uint16))
    if image.mode == "F":
        return _one_array(np.asarray(image))
    if image.has_transparency_data:
        return array_to_rgb(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    # Asking costs a third of a small image's decoding, and most images carry no metadata.
    if image.format in ("TIFF", "MPO") or any(key in image.info for key in _METADATA):
        try:
            return int(image.getexif().get(_ORIENTATION, 1))
        except Exception:  # Broken metadata, read by a parser with errors of all kinds, leave the pixels as they are.
            return 1
    return 1


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image in a known format"
    if isinstance(error, FileNotFoundError):
        return "file not found"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        # The path is not repeated: a text that is none may be as long as an image.
        return error.strerror.lower()
    return str(error).strip() or type(error).__name__
