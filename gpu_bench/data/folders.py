"""Image folders that are too large for memory, streamed from disk by worker processes."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gpu_bench.data.batches import check_batch_size, check_device
from gpu_bench.data.dataset import stratified
from mirrorflow.checks import InputError, number, whole
from mirrorflow.problems import random_stream

__all__ = ["FolderBatches", "ImageFolders", "need_torchvision"]

# The usual constants of ImageNet's training images; computing them would read every file.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Sample = tuple[str, int]  # path and label


@dataclass(frozen=True, slots=True, eq=False)
class ImageFolders:
    """Classification by folders: `train/<class>/*` and `val/<class>/*` under one root.

    Attributes
    ----------
    name : str
    train, test : tuple of (path, label)
        Labels number the class folders in alphabetical order.
    classes : int
    shape : (3, s, s)
        Of one image as the model sees it.
    mean, std : (3,) floats
        The usual ones of ImageNet, of images scaled to [0, 1].
    augment : bool
        Training: a random window (area 8–100 %, aspect 3/4–4/3) resized to s×s, and a flip.
        Evaluation: the short side resized to round(8s/7), then the central s×s.
    """

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    classes: int
    shape: tuple[int, int, int]
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    augment: bool = True

    @classmethod
    def open(cls, name: str, root: Path, image_size: int) -> ImageFolders:
        """List the folders under `root`; no image is read.

        Raises
        ------
        InputError
            If train/ or val/ is missing, a class folder has no image, or the classes of the
            two differ.
        """
        size = whole("image_size", image_size, 8)
        for part in ("train", "val"):
            if not (root / part).is_dir():
                raise InputError(
                    f"{name} must hold train/ and val/ with one folder per class, but {root} has "
                    f"no {part}/; name the folder above it with --data-root."
                )
        open_folder = need_torchvision(name).datasets.ImageFolder
        listed = {}
        for part in ("train", "val"):
            try:
                listed[part] = open_folder(str(root / part))
            except (OSError, RuntimeError) as error:
                raise InputError(
                    f"{root / part} must hold one folder of images per class ({str(error)[:200]})."
                ) from None
        if listed["train"].classes != listed["val"].classes:
            odd = sorted(set(listed["train"].classes) ^ set(listed["val"].classes))
            raise InputError(
                f"{root} must hold the same classes in train/ and val/, but {odd[0]!r} is in one "
                f"of them alone ({len(odd)} such)."
            )
        train, test = (tuple(listed[part].samples) for part in ("train", "val"))
        return cls(name, train, test, len(listed["train"].classes), (3, size, size))

    def split(self, fraction: float = 0.1, seed: int = 0) -> ImageFolders:
        """Hold out a part of the training files as the test part (see `Dataset.split`).

        Raises
        ------
        InputError
            If `fraction` is outside (0, 1) or leaves one of the two parts empty.
        """
        fraction = number("fraction", fraction, 0.0, 1.0, open_low=True)
        seed = whole("seed", seed, 0)
        size = round(fraction * len(self.train))
        if not 0 < size < len(self.train):
            raise InputError(
                f"fraction must leave images on both sides, but {fraction:g} of "
                f"{len(self.train)} training images holds out {size}."
            )
        labels = np.array([label for _, label in self.train])
        held = stratified(labels, size, ("split", self.name, seed))
        train = tuple(s for s, out in zip(self.train, held, strict=True) if not out)
        test = tuple(s for s, out in zip(self.train, held, strict=True) if out)
        return ImageFolders(
            self.name, train, test, self.classes, self.shape, self.mean, self.std, self.augment
        )

    def batches(self, batch_size: int, seed: int, **options: Any) -> FolderBatches:
        """Return `FolderBatches(self, batch_size, seed, **options)`."""
        return FolderBatches(self, batch_size, seed, **options)


class FolderBatches:
    """Batches of `ImageFolders`, with the methods of `Batches`.

    Worker processes decode, crop and flip; uint8 goes to the device (from pinned memory, without
    waiting, on CUDA) and is normalised there. Order, crops and flips depend on (seed, epoch,
    image) alone, so the number of workers changes nothing.

    Parameters
    ----------
    folders : ImageFolders
    batch_size, seed, device, dtype, channels_last
        As in `Batches`; here too the last incomplete batch of training is dropped.
    workers : int, optional
        Processes; without: all cores but one. 0 reads in this process.

    Raises
    ------
    InputError
        If an option breaks its rule, or torchvision is missing.
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
    ) -> None:
        self.batch_size = check_batch_size(batch_size, len(folders.train), folders.name)
        self.seed = whole("seed", seed, 0)
        self.device = check_device(device)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise InputError(f"dtype must be a floating torch dtype, but it is {dtype!r}.")
        self.dtype = dtype
        self.channels_last = bool(channels_last)
        cores = os.cpu_count() or 1
        self.workers = cores - 1 if workers is None else whole("workers", workers, 0)
        self.dataset = folders
        need_torchvision(folders.name)
        mean, std = torch.tensor(folders.mean).double(), torch.tensor(folders.std).double()
        self._scale = (1.0 / (255.0 * std)).float().view(1, 3, 1, 1).to(self.device)
        self._shift = (-mean / std).float().view(1, 3, 1, 1).to(self.device)

    def __len__(self) -> int:
        """Return the number of training batches per epoch, ⌊N / batch_size⌋."""
        return len(self.dataset.train) // self.batch_size

    def epoch(self, k: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (images, labels) of training epoch k ≥ 0, in `len(self)` full batches."""
        k = whole("k", k, 0)
        order = random_stream("batches", self.seed, k).permutation(len(self.dataset.train))
        chosen = order[: len(self) * self.batch_size]
        key = ("crops", self.seed, k) if self.dataset.augment else None
        files = _Files(self.dataset.train, chosen, self.dataset.shape[1], key)
        return self._loaded(files, self.batch_size)

    def evaluation(self, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every test image once, in order; the last batch may be smaller."""
        size = self.batch_size if batch_size is None else whole("batch_size", batch_size, 1)
        order = np.arange(len(self.dataset.test))
        return self._loaded(_Files(self.dataset.test, order, self.dataset.shape[1], None), size)

    def _loaded(self, files: _Files, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            files,
            size,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            # its own generator: the loader would draw the workers' seed from the global one
            generator=torch.Generator(),
        )
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        for images, labels in loader:
            moved = images.to(self.device, non_blocking=True)
            wide = moved.to(torch.float32, memory_format=layout, copy=True)
            wide.mul_(self._scale).add_(self._shift)
            yield wide.to(self.dtype), labels.to(self.device, non_blocking=True)


class _Files(TorchDataset[tuple[Tensor, int]]):
    """The chosen files in their order, as (3, s, s) uint8; augmented where there is a `key`."""

    def __init__(
        self,
        samples: tuple[Sample, ...],
        order: np.ndarray,
        size: int,
        key: tuple[str | int, ...] | None,
    ) -> None:
        self.samples, self.order, self.size, self.key = samples, order, size, key

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        at = int(self.order[position])
        path, label = self.samples[at]
        try:
            image = need_torchvision(path).datasets.folder.default_loader(path)
        except OSError as error:
            raise InputError(f"{path} is not a readable image ({error}).") from None
        if self.key is None:
            return _transform(self.size, False)(image), label
        # torchvision draws from the global state only; it is put back afterwards
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random_stream(*self.key, at).integers(2**63)))
            return _transform(self.size, True)(image), label


@functools.lru_cache(maxsize=4)
def _transform(size: int, augment: bool) -> Callable[[Any], Tensor]:
    t = need_torchvision("image folders").transforms
    if augment:
        return t.Compose([t.RandomResizedCrop(size), t.RandomHorizontalFlip(), t.PILToTensor()])
    return t.Compose([t.Resize(round(size * 8 / 7)), t.CenterCrop(size), t.PILToTensor()])


def need_torchvision(purpose: str) -> ModuleType:
    """Import torchvision with what is used of it, or raise and say who needs it."""
    try:
        for part in ("datasets", "models", "transforms"):
            importlib.import_module(f"torchvision.{part}")
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # the latter: built for another torch
        raise InputError(
            f"{purpose} needs torchvision ({error}); install the one that fits torch "
            f"{torch.__version__} with: pip install torchvision."
        ) from None
