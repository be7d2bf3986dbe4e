"""Batches of image folders, read and cropped by worker processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from gpu_bench.data.batches import check_batch_size, check_device
from gpu_bench.data.decode import Unreadable, read
from gpu_bench.data.folders import ImageFolders
from gpu_bench.data.normalise import Normalise
from gpu_bench.data.shards import Shard
from mirrorflow.checks import InputError, whole
from mirrorflow.problems import random_stream

__all__ = ["FolderBatches"]

START = "fork" if sys.platform == "linux" else "spawn"
Key = tuple[int, int | None]  # an image: its number, and the training epoch (None: a test image)
Read = tuple[NDArray[np.uint8] | str, int]  # (s, s, 3), or why it can't be read; and the label


class FolderBatches:
    """Batches of `ImageFolders`, with the methods of `Batches`.

    Worker processes decode, crop and flip a few batches ahead; they start with the first batch
    and stay. uint8 goes to the device (from pinned memory, without waiting, on CUDA) and is
    normalised there. Order, crops and flips depend on (seed, epoch, image) alone: neither the
    number of workers nor that of ranks nor the device changes anything.

    Only one epoch or evaluation can be read at a time: a new one ends the one before, which
    raises RuntimeError if it is continued.

    Parameters
    ----------
    folders : ImageFolders
    batch_size, seed, device, dtype, channels_last, rank, ranks
        As in `Batches`; here too the last incomplete batch of training is dropped.
    workers : int, optional
        Processes. Without: all cores but one, shared among the ranks (on one machine). 0 reads
        in this process.

    Raises
    ------
    InputError
        If an option breaks its rule; while reading, where a file is not a readable image.

    Examples
    --------
    >>> from gpu_bench import data
    >>> folders = data.load("imagenet", root="data")  # doctest: +SKIP
    >>> FolderBatches(folders, 64, seed=0).steps_per_epoch  # doctest: +SKIP
    20018
    """

    def __init__(
        self,
        folders: ImageFolders,
        batch_size: int,
        seed: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        workers: int | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.batch_size = check_batch_size(batch_size, len(folders.train), folders.name)
        self.shard = Shard(rank, ranks)
        self.per_rank = self.shard.size(self.batch_size)
        self.seed = whole("seed", seed, 0)
        self.device = check_device(device)
        self.dataset = folders
        if workers is None:
            workers = max((os.cpu_count() or 1) - 1, 1) // ranks
        self.workers = whole("workers", workers, 0)
        self._normalised = Normalise(folders.mean, folders.std, self.device, dtype, channels_last)
        self._queue = _Queue()
        self._loader = DataLoader(
            _Files(folders, self.seed),
            batch_sampler=self._queue,
            collate_fn=_collated,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            # torch's own choice; in a process of loky's the default would be loky's
            multiprocessing_context=START if self.workers else None,
            pin_memory=self.device.type == "cuda",
            # its own generator: the loader would draw the workers' seed from the global one
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of training batches per epoch, ⌊N / batch_size⌋."""
        return len(self.dataset.train) // self.batch_size

    def epoch(self, k: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (images, labels) of training epoch k ≥ 0, in `len(self)` full batches."""
        k = whole("k", k, 0)
        order = random_stream("batches", self.seed, k).permutation(len(self.dataset.train))
        return self._read(self.shard.of_batches(torch.from_numpy(order), self.batch_size), k)

    def evaluation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every test image once, in order; the last batch may be smaller.

        Each rank yields a part of its own, as in `Batches.evaluation`.
        """
        mine, size = self.shard.of_test(len(self.dataset.test)), self.per_rank
        starts = range(mine.start, mine.stop, size)
        return self._read([torch.arange(i, min(i + size, mine.stop)) for i in starts])

    def _read(
        self, batches: Iterable[Tensor], epoch: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        self._queue.batches, self._queue.epoch = batches, epoch
        for pixels, labels in self._loader:
            if isinstance(pixels, str):
                raise InputError(f"{pixels}.")
            moved = pixels.to(self.device, non_blocking=True)
            yield self._normalised(moved), labels.to(self.device, non_blocking=True)
            if self._queue.batches is not batches:
                raise RuntimeError(
                    "an epoch or evaluation can't be continued after another one has begun."
                )


class _Queue(Sampler[list[Key]]):
    """The batches to be read next; persistent workers need one source for all epochs."""

    def __init__(self) -> None:
        self.batches: Iterable[Tensor] = ()
        self.epoch: int | None = None

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        for batch in self.batches:
            yield [(at, epoch) for at in batch.tolist()]


class _Files(TorchDataset[Read]):
    """The files of `ImageFolders` by their key; what is unreadable is reported, not raised.

    An exception of a worker would reach the user with the worker's traceback as its message.
    """

    def __init__(self, folders: ImageFolders, seed: int) -> None:
        self.folders, self.seed = folders, seed

    def __getitem__(self, key: Key) -> Read:
        at, epoch = key
        folders = self.folders
        path, label = (folders.test if epoch is None else folders.train)[at]
        stream = None
        if folders.augment and epoch is not None:
            stream = random_stream("crops", self.seed, epoch, at)
        try:
            return read(path, folders.shape[1], stream), label
        except Unreadable as error:
            return str(error), label


def _collated(items: list[Read]) -> tuple[Tensor | str, Tensor]:
    images, labels = zip(*items, strict=True)
    refused = next((image for image in images if isinstance(image, str)), None)
    return refused or torch.from_numpy(np.stack(images)), torch.tensor(labels)
