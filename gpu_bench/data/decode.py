"""Decoder of image files: a window of the image, resized to a square of pixels."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Unreadable", "centre", "read", "window"]

Box = tuple[float, float, float, float]  # left, upper, right, lower, in pixels of the image

AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
TRIES = 10
# Told apart by content, not by name. All of Pillow's would include some that start programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")

BITS, PHOTOMETRIC = 258, 262  # TIFF: bits of a level; 0 where its level 0 is white


class Unreadable(Exception):
    """A file is not an image that can be used; the message says which and why."""


def read(path: str, size: int, stream: np.random.Generator | None) -> NDArray[np.uint8]:
    """Read one image as (size, size, 3) uint8, in RGB.

    The window is resized by a triangle filter (bilinear, widened where it shrinks the image). A
    JPEG file is decoded at 1/2, 1/4 or 1/8 of its size where the window then still has size×size
    pixels. Grey images of 1 to 16 bits, palettes and CMYK are converted to RGB; an alpha channel
    and the EXIF orientation are ignored, as in torchvision's loader; of several frames the first
    is taken.

    Parameters
    ----------
    path : str
        JPEG, PNG, WebP, BMP, PPM or TIFF.
    size : int
    stream : Generator, optional
        With: a random `window`, mirrored with probability ½. Without: the `centre`.

    Raises
    ------
    Unreadable
        If the file is missing, damaged or of another kind, has grey levels without a known white
        (floats, signed or 32-bit numbers), or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`
        (9·10⁷: a few bytes can claim to be gigabytes). Damage that leaves a JPEG's length intact
        can't be told from a picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that alpha is ignored
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if stream is None:
                    return np.array(_resized(image, centre(size, *image.size), size))
                square = _resized(image, window(stream, *image.size), size)
                if stream.random() < 0.5:
                    square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                return np.array(square)
    except Exception as error:  # on damaged files decoders raise nearly everything
        reason = str(error).rstrip(".") or type(error).__name__
        raise Unreadable(f"{path} is not a readable image ({reason})") from None


def window(stream: np.random.Generator, width: int, height: int) -> Box:
    """Draw a window of 8–100 % of the area and log-uniform aspect ratio in [3/4, 4/3].

    The rule of torchvision's RandomResizedCrop: area and aspect ratio are drawn until the window
    fits, at most 10 times, its position uniformly; after that it is the largest central window
    whose aspect ratio lies in the range.
    """
    low, high = ASPECT
    for _ in range(TRIES):
        area = width * height * stream.uniform(*AREA)
        aspect = math.exp(stream.uniform(math.log(low), math.log(high)))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left = int(stream.integers(width - across + 1))
            upper = int(stream.integers(height - down + 1))
            return left, upper, left + across, upper + down
    across, down = min(width, round(height * high)), min(height, round(width / low))
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


def centre(size: int, width: int, height: int) -> Box:
    """Return the central size×size of the image resized to a short side of round(8·size/7).

    In pixels of the image as it is: one resizing does both steps.
    """
    short = round(size * 8 / 7)
    across, down = (
        (short, int(short * height / width))
        if width <= height
        else (int(short * width / height), short)
    )
    left, upper = round((across - size) / 2), round((down - size) / 2)
    x, y = width / across, height / down
    return left * x, upper * y, (left + size) * x, (upper + size) * y


def _resized(image: Image.Image, box: Box, size: int) -> Image.Image:
    width, height = image.size
    left, upper, right, lower = box
    least = math.ceil(width * size / (right - left)), math.ceil(height * size / (lower - upper))
    drafted = image.draft(None, least)  # None where the format has no fast way
    if drafted is not None:
        scale = drafted[1][2] / width
        box = left * scale, upper * scale, right * scale, lower * scale
    grey = image if image.mode[0] not in "IF" else _eight_bits(image)
    rgb = grey if grey.mode == "RGB" else grey.convert("RGB")
    return rgb.resize((size, size), Image.Resampling.BILINEAR, box)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale the 12 or 16 bits of a grey image to 8; Pillow's `convert` cuts off what is above 255.

    Raises
    ------
    ValueError
        If the levels are floats, signed or of 32 bits: their black and white are not known.
    """
    # older versions of Pillow open a PNG of 16 bits as "I"
    if image.mode[:4] != "I;16" and (image.mode, image.format) not in (("I", "PNG"), ("I", "PPM")):
        raise ValueError(f"its grey levels, of Pillow's mode {image.mode}, have no known white")
    tags = getattr(image, "tag_v2", {})  # of TIFF
    levels = np.linspace(0, 255, 2 ** tags.get(BITS, (16,))[0]).round().astype(np.uint8)
    return Image.fromarray(levels[:: -1 if tags.get(PHOTOMETRIC) == 0 else 1][np.asarray(image)])
