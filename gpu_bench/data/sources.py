"""Sources of images: scikit-learn, an array cache, torchvision's official files."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from gpu_bench.catalogue import OFFICIAL
from gpu_bench.data.dataset import Dataset, stratified
from gpu_bench.data.folders import ImageFolders
from mirrorflow.checks import InputError, meant
from mirrorflow.extras import require
from mirrorflow.runs.untrusted import read_arrays

__all__ = ["FOLDER", "NAMES", "check_name", "count", "is_folder", "load", "shape_of"]
__all__ += ["training_images"]

FOLDER = "folder:"  # before the name of a folder of one's own
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
NAMES = ("digits", *OFFICIAL, "imagenet")


def is_folder(name: str) -> bool:
    """Return whether a data set is streamed from a folder of image files."""
    return name == "imagenet" or name.startswith(FOLDER)


def check_name(argument: str, name: str) -> None:
    """Raise InputError where no data set has the name."""
    if name not in NAMES and not (is_folder(name) and len(name) > len(FOLDER)):
        rule = f"{argument} must be one of {', '.join(NAMES)} or {FOLDER}NAME, but it is {name!r}."
        raise InputError(rule + meant(name, NAMES))


def shape_of(name: str, image_size: int | None = None) -> tuple[int, int, int]:
    """Return (C, H, W) of a data set's images, without reading them."""
    if name in OFFICIAL:
        height, width, channels = OFFICIAL[name].shape
        return channels, height, width
    return (1, 8, 8) if name == "digits" else (3, image_size or 224, image_size or 224)


def training_images(name: str) -> int | None:
    """Return how many a data set has, without reading them; None of a folder."""
    return OFFICIAL[name].counts[0] if name in OFFICIAL else 1437 if name == "digits" else None


def count(images: Dataset | ImageFolders) -> int:
    """Return the number of training images of a loaded data set."""
    return len(images.train_labels if isinstance(images, Dataset) else images.train)


def load(
    name: str,
    root: str | PathLike[str] | None = None,
    download: bool = False,
    image_size: int | None = None,
) -> Dataset | ImageFolders:
    """Load a data set by name.

    Parameters
    ----------
    name : {"digits", "fashion-mnist", "cifar10", "cifar100", "imagenet"} or folder:NAME
        digits: scikit-learn's 1797 images of 8×8 (bundled), values 0…16 spread over 0…255,
        split once and for all into 1437 for training and 360 for testing, classes in proportion.
        fashion-mnist, cifar10, cifar100: complete, in the official order and split; from the
        array cache `<root>/<name>.npz` if it is there, else from the official files as
        torchvision lays them under `root`; the arrays' SHA-256 must be the published ones either
        way. imagenet: `<root>/train/<class>/…` and `<root>/val/<class>/…`, streamed from disk;
        folder:NAME: the same below `<root>/NAME`.
    root : path, optional
        The folder that holds the data (`--data-root`); not used by digits.
    download : bool
        Let torchvision fetch the official files into `root` (`--download`).
    image_size : int, optional
        Of imagenet and folder:NAME only: side of the square crops (224).

    Returns
    -------
    Dataset or ImageFolders
        Both have `name`, `shape`, `classes`, `mean`, `std`, `augment`, `split`.

    Raises
    ------
    InputError
        If the name is unknown, the data is missing, or it is not the published data.

    Examples
    --------
    >>> load("digits").shape
    (1, 8, 8)
    """
    check_name("dataset", name)
    if image_size is not None and not is_folder(name):
        rule = f"image_size must be left out for {name}, whose images have one size"
        raise InputError(f"{rule}, but it is {image_size!r}.")
    if name == "digits":
        return _digits()
    if root is None:
        fetch = "" if is_folder(name) else ", and add --download to fetch it there"
        raise InputError(f"{name} must be on disk: name its folder with --data-root{fetch}.")
    root = Path(root).expanduser()
    if is_folder(name):
        if download:
            raise InputError(f"{name} can't be fetched by --download; put it below --data-root.")
        require(f"the data set {name}", "PIL")
        folder = root if name == "imagenet" else root / name.removeprefix(FOLDER)
        return ImageFolders.open(name, folder, 224 if image_size is None else image_size)
    return _official(name, root, download)


def _digits() -> Dataset:
    require("the data set digits", "sklearn")
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 1, 8, 8) * (255.0 / 16.0)).astype(np.uint8)
    held = stratified(target, 360, ("digits", "test"))
    labels = target.astype(np.int64)

    def part(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(images[rows]), torch.from_numpy(labels[rows])

    return Dataset.of("digits", part(~held), part(held), 10, augment=False)


def _official(name: str, root: Path, download: bool) -> Dataset:
    official = OFFICIAL[name]
    cache = root / f"{name}.npz"
    if cache.exists():
        arrays, source = read_arrays(cache, ARRAYS), str(cache)
    elif download or (root / official.folder).exists():
        arrays, source = _by_torchvision(name, root, download), str(root / official.folder)
    else:
        raise InputError(
            f"{name} was not found: {root} holds neither {cache.name} nor {official.folder}; "
            f"name the folder that holds one of them with --data-root, or add --download to "
            f"fetch the official files (torchvision must be installed)."
        )
    checked = {}
    for array, digest in zip(ARRAYS, official.digests, strict=True):
        count = official.counts[array.startswith("test")]
        shape = (count, *official.shape) if array.endswith("images") else (count,)
        checked[array] = _published(array, arrays[array], shape, source, digest)

    def part(which: str) -> tuple[Tensor, Tensor]:
        images, labels = checked[f"{which}_images"], checked[f"{which}_labels"]
        # copies: what was read from a file is read-only, and torch wants to own its memory
        nchw = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        return nchw, torch.from_numpy(labels.astype(np.int64))

    return Dataset.of(name, part("train"), part("test"), official.classes, augment=True)


def _published(
    name: str, array: np.ndarray, shape: tuple[int, ...], source: str, digest: str
) -> np.ndarray:
    """Return the array as uint8, or raise where it is not the published one."""
    plain = np.ascontiguousarray(array, dtype=np.uint8)
    actual = hashlib.sha256(plain.data).hexdigest()
    if array.shape != shape or actual != digest or not np.array_equal(plain, array):
        raise InputError(
            f"{name} in {source} are not the published ones: shape {shape} and SHA-256 "
            f"{digest[:16]}… are expected, but they are {array.shape} and {actual[:16]}…; delete "
            f"the damaged files and fetch them again with --download."
        )
    return plain


def _by_torchvision(name: str, root: Path, download: bool) -> dict[str, np.ndarray]:
    """Read the official files; torchvision compares their MD5 before it unpickles CIFAR's."""
    datasets = need_torchvision(f"{name}'s official files").datasets
    open_part: Callable[..., Dataset] = getattr(datasets, OFFICIAL[name].torchvision)
    arrays = {}
    for which in ("train", "test"):
        try:
            part = open_part(str(root), train=which == "train", download=download)
        except (OSError, RuntimeError) as error:
            wish = "could not be fetched" if download else "could not be read"
            hint = "check the connection" if download else "add --download to fetch them again"
            raise InputError(
                f"{name}'s official files {wish} in {root} ({str(error)[:200]}); {hint}."
            ) from None
        images = np.asarray(part.data)  # type: ignore[attr-defined]
        arrays[f"{which}_images"] = images if images.ndim == 4 else images[..., None]
        arrays[f"{which}_labels"] = np.asarray(part.targets)  # type: ignore[attr-defined]
    return arrays


def need_torchvision(purpose: str) -> ModuleType:
    """Import torchvision with its datasets, or raise and say who needs it."""
    try:
        importlib.import_module("torchvision.datasets")
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # the latter: built for another torch
        raise InputError(
            f"{purpose} needs torchvision ({error}); install the one that fits torch "
            f"{torch.__version__} with: pip install torchvision."
        ) from None
