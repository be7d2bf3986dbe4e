"""A small set of image folders, as ImageNet's are laid out: `make_images(root)`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_images(
    root: Path, classes: int = 10, train: int = 20, val: int = 5, seed: int = 0
) -> None:
    """Write `train` and `val` images per class, of many sizes and of all kinds of files.

    Class c is a wave of c + 1 crests across the image, in its own direction and colour, under
    noise: a network can learn it, and no window of 8 % of the area hides it altogether. One file
    in five is not a plain JPEG: greyscale and CMYK JPEG, RGB, palette and transparent PNG.
    """
    rng = np.random.default_rng(seed)
    for part, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / part / f"class{label:02d}"
            folder.mkdir(parents=True)
            for i in range(count):
                width, height = rng.integers(24, 97, 2)
                _save(_wave(rng, label, classes, width, height), folder, i, label)


def _wave(
    rng: np.random.Generator, label: int, classes: int, width: int, height: int
) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    angle = np.pi * label / classes
    phase = 2 * np.pi * (label + 1) * (x * np.cos(angle) + y * np.sin(angle) + rng.uniform())
    colour = np.cos(2 * np.pi * (label / classes + np.arange(3) / 3))
    bright = 128 + 60 * np.sin(phase)[..., None] + 40 * colour
    noisy = bright + rng.normal(0, 10, bright.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _save(image: Image.Image, folder: Path, i: int, label: int) -> None:
    kinds = {3: "L", 8: "CMYK", 13: "P", 18: "RGBA"}
    mode = kinds.get((i + label) % 20, "RGB")
    suffix = "png" if mode in ("P", "RGBA") else "jpeg"
    image.convert(mode).save(folder / f"{i:03d}.{suffix}", quality=90)
