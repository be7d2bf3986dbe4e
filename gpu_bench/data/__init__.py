"""Images for the benchmark: small sets that live on the device, and folders on disk.

>>> from gpu_bench import data
>>> digits = data.load("digits")
>>> digits.shape, digits.classes, len(digits.train_labels), len(digits.test_labels)
((1, 8, 8), 10, 1437, 360)
>>> batches = data.batches_of(digits, batch_size=128, seed=0)
>>> images, labels = next(iter(batches.epoch(0)))
>>> images.shape, images.dtype, labels.dtype
(torch.Size([128, 1, 8, 8]), torch.float32, torch.int64)
"""

from typing import Any

from gpu_bench.data import batches
from gpu_bench.data.batches import Batches
from gpu_bench.data.dataset import Dataset
from gpu_bench.data.folder_batches import FolderBatches
from gpu_bench.data.folders import ImageFolders
from gpu_bench.data.shards import Shard
from gpu_bench.data.sources import NAMES, check_name, is_folder, load, shape_of, training_images

__all__ = ["NAMES", "Batches", "Dataset", "FolderBatches", "ImageFolders", "batches_of", "load"]
__all__ += ["check_batch", "check_name", "count", "is_folder", "shape_of", "training_images"]


def batches_of(
    images: Dataset | ImageFolders, batch_size: int, seed: int, **options: Any
) -> Batches | FolderBatches:
    """Return `Batches` or `FolderBatches` of the images, with the options of the one it is.

    Parameters
    ----------
    images : Dataset or ImageFolders
    batch_size : int ≥ 1
    seed : int ≥ 0
    **options
        Of `Batches` or `FolderBatches`.

    Returns
    -------
    Batches or FolderBatches

    Raises
    ------
    InputError
        If an option breaks its rule.

    Examples
    --------
    >>> batches = batches_of(load("digits"), batch_size=100, seed=0)
    >>> len(list(batches.epoch(0)))
    14
    """
    if isinstance(images, Dataset):
        return Batches(images, batch_size, seed, **options)
    return FolderBatches(images, batch_size, seed, **options)


def count(images: Dataset | ImageFolders) -> int:
    """Return the number of training images.

    Parameters
    ----------
    images : Dataset or ImageFolders

    Returns
    -------
    int

    Examples
    --------
    >>> count(load("digits"))
    1437
    """
    return len(images.train_labels if isinstance(images, Dataset) else images.train)


def check_batch(batch_size: int, images: Dataset | ImageFolders, ranks: int) -> None:
    """Refuse a batch that is larger than the images, or that ranks can't share evenly.

    Parameters
    ----------
    batch_size : int
    images : Dataset or ImageFolders
    ranks : int

    Raises
    ------
    InputError
        If it is so.

    Examples
    --------
    >>> check_batch(128, load("digits"), ranks=2)
    """
    Shard(0, ranks).size(batches.check_batch_size(batch_size, count(images), images.name))
