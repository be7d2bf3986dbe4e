"""Batches of a small data set, made on the device: shuffle, crop, flip, normalise."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_bench.data.dataset import Dataset
from gpu_bench.data.normalise import Normalise
from gpu_bench.data.shards import Shard
from mirrorflow.checks import InputError, whole
from mirrorflow.problems import random_stream

__all__ = ["Batches"]

PADDING = 4
# Batches augmented by one set of kernels on CUDA. There a batch's kernels are too short to hide
# their launches; on a CPU one batch at a time stays in the cache. The numbers don't depend on it.
CUDA_GROUP = 16
CUDA_EVALUATION = 2000  # images evaluated at a time on CUDA, at least, for the same reason


class Batches:
    """Training and test batches of a `Dataset` that lives on the device as uint8.

    Each training epoch k visits the images in an order, with crops and flips drawn from a
    `torch.Generator` on the device that is seeded from (seed, k) alone: an epoch can be
    repeated, and neither other epochs nor the global random state change it. CPU and CUDA
    generators differ, so the same seed gives other batches on another kind of device.

    A crop is a window of the image's size in the image padded by 4 black pixels (raw 0, before
    normalisation, as in torchvision's RandomCrop), its offset uniform over 9×9; a flip mirrors
    left and right with probability ½. All of a batch comes from one row gather in the padded
    uint8 images. Nothing in an epoch waits for the device.

    Several processes share the work where `ranks` > 1: each draws the same epoch, and rank r
    yields its contiguous part of every batch. Together they see what one process sees, the same
    images in the same order, cropped and flipped the same way.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int
        Of all ranks together: at least 1, at most the number of training images. The images left
        over at the end of an epoch, fewer than a batch, are dropped: every step sees the same
        shapes. They differ from epoch to epoch.
    seed : int ≥ 0
    device : str or torch.device
    dtype : torch.dtype
        Floating; normalised in float32, then rounded to it.
    channels_last : bool
        Memory format of the batches. Faster for CUDA tensor cores; slower for 8×8 images on CPU.
    rank, ranks : int
        This process's number, from 0, and how many there are; `ranks` must divide `batch_size`.

    Raises
    ------
    InputError
        If an option breaks its rule, or the device is CUDA and there is none.

    Examples
    --------
    >>> from gpu_bench import data
    >>> batches = Batches(data.load("digits"), batch_size=256, seed=0)
    >>> len(batches), sum(len(labels) for _, labels in batches.epoch(3))
    (5, 1280)
    >>> sum(len(labels) for _, labels in batches.evaluation())
    360
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.batch_size = check_batch_size(batch_size, len(dataset.train_labels), dataset.name)
        self.shard = Shard(rank, ranks)
        self.per_rank = self.shard.size(self.batch_size)
        self.seed = whole("seed", seed, 0)
        self.device = check_device(device)
        self.dataset = dataset
        self._group = CUDA_GROUP if self.device.type == "cuda" else 1
        self._train, self._train_labels = _on_device(dataset, True, self.device)
        self._test, self._test_labels = _on_device(dataset, False, self.device)
        self._normalised = Normalise(dataset.mean, dataset.std, self.device, dtype, channels_last)

    def __len__(self) -> int:
        """Return the number of training batches per epoch, ⌊N / batch_size⌋."""
        return len(self._train_labels) // self.batch_size

    def epoch(self, k: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (images, labels) of training epoch k ≥ 0, in `len(self)` full batches.

        Images (B, C, H, W) of `dtype`, labels (B,) int64, both on the device; B is
        batch_size / ranks.
        """
        return self._epoch(whole("k", k, 0))

    def evaluation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every test image once, in order, without augmentation.

        As many at a time as in training, on CUDA at least `CUDA_EVALUATION`; the last may be fewer.
        Of several ranks each yields a contiguous part of its own, to within one image of the same
        size; where images are fewer than ranks some yield nothing.
        """
        size = max(self.per_rank, CUDA_EVALUATION if self.device.type == "cuda" else 1)
        mine = self.shard.of_test(len(self._test_labels))
        for start in range(mine.start, mine.stop, size):
            part = slice(start, min(start + size, mine.stop))
            yield self._normalised(self._test.images[part]), self._test_labels[part]

    def _epoch(self, k: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator(self.device)
        generator.manual_seed(int(random_stream("batches", self.seed, k).integers(2**63)))
        total = len(self._train_labels)
        order = torch.randperm(total, generator=generator, device=self.device)
        if self.dataset.augment:
            offsets = torch.randint(
                2 * PADDING + 1, (2, total), generator=generator, device=self.device
            )
            flip = torch.randint(2, (total,), generator=generator, device=self.device).bool()
        mine = self.shard.of_batches(order, self.batch_size)
        if self.dataset.augment:
            dy, dx = self.shard.of_batches(offsets, self.batch_size)
            flip = self.shard.of_batches(flip, self.batch_size)
        for start in range(0, len(mine), self._group):
            part = slice(start, start + self._group)
            chosen = mine[part].flatten()
            if self.dataset.augment:
                images = self._train.windows(chosen, *(d[part].flatten() for d in (dy, dx, flip)))
            else:
                images = self._train.images[chosen]
            images, labels = self._normalised(images), self._train_labels[chosen]
            yield from zip(images.split(self.per_rank), labels.split(self.per_rank), strict=True)


@functools.lru_cache(maxsize=2)  # both parts of one data set: runs in a row share them
def _on_device(dataset: Dataset, train: bool, device: torch.device) -> tuple[_Rows, Tensor]:
    if train:
        padding = PADDING if dataset.augment else 0
        return _Rows(dataset.train_images, device, padding), dataset.train_labels.to(device)
    return _Rows(dataset.test_images, device, 0), dataset.test_labels.to(device)


class _Rows:
    """Images on the device, (N, H + 2p, W + 2p, C) uint8 with p black pixels around each.

    Pixels are rows of C bytes: one index per pixel, not per value, and a window comes out in
    channels-last order without a copy. Measured on one CPU core (256 windows of 3×32×32): 0.7 ms
    by `index_select` of rows, 1.3 ms from an `unfold` view, 2.7 ms by one index per value, 9 ms
    by indexing with three broadcast tensors.
    """

    def __init__(self, images: Tensor, device: torch.device, padding: int) -> None:
        self.size = images.shape[2:]
        # the host's copy moves before it is padded: fewer bytes cross the bus
        moved = images.to(device).permute(0, 2, 3, 1)
        if padding:
            moved = F.pad(moved, (0, 0, padding, padding, padding, padding))
        self.images = moved.contiguous()
        self.padding = padding
        height, width = self.size
        self._y = torch.arange(height, device=device)
        self._x = torch.arange(width, device=device)

    def windows(self, chosen: Tensor, dy: Tensor, dx: Tensor, flip: Tensor) -> Tensor:
        """(B, H, W, C): window (dy, dx) of each chosen padded image, mirrored where `flip`."""
        _, height, width, channels = self.images.shape
        y = self._y + dy[:, None]
        x = torch.where(flip[:, None], self._x.flip(0), self._x) + dx[:, None]
        index = (chosen[:, None, None] * height + y[:, :, None]) * width + x[:, None, :]
        taken = self.images.view(-1, channels).index_select(0, index.view(-1))
        return taken.view(len(chosen), *self.size, channels)


def check_batch_size(batch_size: int, total: int, name: str) -> int:
    """Return a batch size that at least one full batch of `total` images can have."""
    batch_size = whole("batch_size", batch_size, 1)
    if batch_size > total:
        raise InputError(
            f"batch_size must be at most the number of training images ({total} in {name}), but "
            f"it is {batch_size}."
        )
    return batch_size


def check_device(device: str | torch.device) -> torch.device:
    """Return the device, or raise where torch can't use it here."""
    try:
        result = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"device must be one that torch knows, but it is {device!r}.") from None
    if result.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device is {str(result)!r}, but torch sees no CUDA device here; use --device cpu or "
            f"install a CUDA build of torch."
        )
    return result
