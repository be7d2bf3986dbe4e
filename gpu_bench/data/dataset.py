"""A small data set: all images as uint8 in memory, checked once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mirrorflow.checks import InputError, number, whole
from mirrorflow.problems import random_stream

__all__ = ["Dataset"]

Part = tuple[Tensor, Tensor]  # images and labels

CHUNK = 8192  # images whose histogram is taken at once: bounds the memory of the int64 counts


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images and labels of one classification problem, on the host.

    Attributes
    ----------
    name : str
    train_images, test_images : (N, C, H, W) uint8 Tensor
    train_labels, test_labels : (N,) int64 Tensor
        In [0, classes).
    classes : int ≥ 2
    mean, std : (C,) floats
        Of the training images scaled to [0, 1], over images and pixels of one channel; std
        divides by N·H·W. What `Batches` normalises with, test images included.
    augment : bool
        Whether training draws a random crop with 4-pixel padding and a horizontal flip.

    Raises
    ------
    InputError
        If shapes, dtypes or labels don't fit, or a channel is constant (its std would be 0).

    Examples
    --------
    >>> from gpu_bench import data
    >>> digits = data.load("digits")
    >>> digits.train_images.shape, digits.classes
    (torch.Size([1437, 1, 8, 8]), 10)
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: bool

    def __post_init__(self) -> None:
        classes = whole("classes", self.classes, 2)
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.dtype != torch.uint8 or images.ndim != 4 or images.numel() == 0:
                raise InputError(
                    f"{part}_images must be a non-empty (N, C, H, W) uint8 tensor, but its shape "
                    f"is {tuple(images.shape)} and its dtype {images.dtype}."
                )
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                raise InputError(
                    f"{part}_labels must be an int64 tensor of {len(images)} labels, but its "
                    f"shape is {tuple(labels.shape)} and its dtype {labels.dtype}."
                )
            if int(labels.min()) < 0 or int(labels.max()) >= classes:
                raise InputError(
                    f"{part}_labels must lie in [0, {classes}), but they run from "
                    f"{int(labels.min())} to {int(labels.max())}."
                )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise InputError(
                f"test_images must be of the training images' shape {self.shape}, but they are "
                f"{tuple(self.test_images.shape[1:])}."
            )
        if len(self.mean) != self.shape[0] or len(self.std) != self.shape[0]:
            raise InputError(
                f"mean and std must have {self.shape[0]} entries (channels), but they have "
                f"{len(self.mean)} and {len(self.std)}."
            )
        if min(self.std) <= 0:
            raise InputError(
                f"train_images must vary in every channel, but channel "
                f"{self.std.index(min(self.std))} is constant."
            )

    @classmethod
    def of(cls, name: str, train: Part, test: Part, classes: int, augment: bool) -> Dataset:
        """Build one from (images, labels) pairs; mean and std are taken from `train`."""
        mean, std = channel_moments(train[0])
        return cls(name, *train, *test, classes, mean, std, augment)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def split(self, fraction: float = 0.1, seed: int = 0) -> Dataset:
        """Hold out a part of the training images as the test part, to choose hyperparameters on.

        The test images of `self` are in neither part. round(fraction·N) images are held out,
        each class in proportion (to one image, largest remainders first); the order of the
        images is kept; mean and std are those of the images that remain.

        Raises
        ------
        InputError
            If `fraction` is outside (0, 1) or leaves one of the two parts empty.
        """
        held = held_out(self.train_labels.numpy(), fraction, self.name, seed)
        out, kept = torch.from_numpy(held), torch.from_numpy(~held)
        rest, apart = ((self.train_images[rows], self.train_labels[rows]) for rows in (kept, out))
        return Dataset.of(self.name, rest, apart, self.classes, self.augment)


def channel_moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, scaled to [0, 1]; exact, from histograms."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in images.split(CHUNK):
        for channel, count in enumerate(counts):
            count += torch.bincount(chunk[:, channel].reshape(-1), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255.0
    weights = counts / counts.sum(1, keepdim=True).double()
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(1)
    return tuple(mean.tolist()), tuple(variance.sqrt().tolist())


def held_out(labels: np.ndarray, fraction: float, name: str, seed: int) -> np.ndarray:
    """Mark round(fraction·N) of the labels for validation; see `Dataset.split`."""
    fraction = number("fraction", fraction, 0.0, 1.0, open_low=True)
    seed = whole("seed", seed, 0)
    size = round(fraction * len(labels))
    if not 0 < size < len(labels):
        raise InputError(
            f"validation fraction must leave images on both sides, but {fraction:g} of "
            f"{len(labels)} training images holds out {size}."
        )
    return stratified(labels, size, ("split", name, seed))


def stratified(labels: np.ndarray, size: int, key: tuple[str | int, ...]) -> np.ndarray:
    """Mark `size` of the labels, every class in proportion, drawn from the stream named `key`.

    Class c gives ⌊size·N_c/N⌋ marks; what is missing goes to the largest remainders, the
    smaller class number first where they are equal.
    """
    classes, inverse = np.unique(labels, return_inverse=True)
    count = np.bincount(inverse)
    share, remainder = np.divmod(size * count, labels.size)
    share[np.argsort(-remainder, kind="stable")[: size - share.sum()]] += 1
    marked = np.zeros(labels.size, dtype=bool)
    for position, label in enumerate(classes):
        members = np.flatnonzero(inverse == position)
        order = random_stream(*key, int(label)).permutation(members.size)
        marked[members[order[: share[position]]]] = True
    return marked
