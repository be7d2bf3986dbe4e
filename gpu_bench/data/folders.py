"""Image folders that are too large for memory: which files, which classes."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpu_bench.data.dataset import held_out
from mirrorflow.checks import InputError, whole

__all__ = ["ImageFolders"]

# The usual constants of ImageNet's training images; computing them would read every file.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
# Folders that systems leave behind, beside those with a dot: macOS, Synology, Windows, ext4.
LEFT_BEHIND = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
Sample = tuple[str, int]  # path and label


@dataclass(frozen=True, slots=True, eq=False)
class ImageFolders:
    """Classification by folders: `train/<class>/…` and `val/<class>/…` under one root.

    Attributes
    ----------
    name : str
    train, test : tuple of (path, label)
        Labels number the class folders in alphabetical order; so are the files ordered. Hidden
        folders and files are left out at every depth: names that begin with a dot
        (.ipynb_checkpoints, ._x.jpg) and `LEFT_BEHIND`.
    classes : int ≥ 2
    shape : (3, s, s)
        Of one image as the model sees it.
    mean, std : (3,) floats
        The usual ones of ImageNet, of images scaled to [0, 1].
    augment : bool
        Training: a random window (area 8–100 %, aspect 3/4–4/3) resized to s×s, and a flip.
        Evaluation: the short side resized to round(8s/7), then the central s×s.

    Raises
    ------
    InputError
        If there are fewer than two classes.

    Examples
    --------
    >>> samples = (Path("a", "1.png"), 0), (Path("b", "1.png"), 1)
    >>> ImageFolders("folder:mine", samples, samples, 2, (3, 32, 32)).classes
    2
    """

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    classes: int
    shape: tuple[int, int, int]
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    augment: bool = True

    def __post_init__(self) -> None:
        whole("classes", self.classes, 2)

    @classmethod
    def open(cls, name: str, root: Path, image_size: int) -> ImageFolders:
        """List the folders under `root`; no image is read.

        Raises
        ------
        InputError
            If train/ or val/ is missing, there are fewer than two class folders, one of them
            has no image, or the classes of the two differ.
        """
        size = whole("image_size", image_size, 8)
        for part in ("train", "val"):
            if not (root / part).is_dir():
                raise InputError(
                    f"{name} must hold train/ and val/ with one folder per class, but {root} has "
                    f"no {part}/; name the folder above it with --data-root."
                )
        classes, held = (_class_names(root / part) for part in ("train", "val"))
        if classes != held:
            odd = sorted(set(classes) ^ set(held))
            raise InputError(
                f"{root} must hold the same classes in train/ and val/, but {odd[0]!r} is in one "
                f"of them alone ({len(odd)} such)."
            )
        if len(classes) < 2:
            raise InputError(
                f"{root / 'train'} must hold at least two class folders, but it has {len(classes)}."
            )
        train, test = (_samples(root / part, classes) for part in ("train", "val"))
        return cls(name, train, test, len(classes), (3, size, size))

    def split(self, fraction: float = 0.1, seed: int = 0) -> ImageFolders:
        """Hold out a part of the training files as the test part (see `Dataset.split`).

        Raises
        ------
        InputError
            If `fraction` is outside (0, 1) or leaves one of the two parts empty.
        """
        held = held_out(np.array([label for _, label in self.train]), fraction, self.name, seed)
        train = tuple(s for s, out in zip(self.train, held, strict=True) if not out)
        test = tuple(s for s, out in zip(self.train, held, strict=True) if out)
        return dataclasses.replace(self, train=train, test=test)


def _class_names(folder: Path) -> list[str]:
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(name for name in names if not _hidden(name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in LEFT_BEHIND


def _samples(folder: Path, classes: list[str]) -> tuple[Sample, ...]:
    """List the image files below each class folder, in the order of torchvision's ImageFolder."""
    samples: list[Sample] = []
    for label, name in enumerate(classes):
        before = len(samples)
        for parent, _, files in sorted(os.walk(folder / name, followlinks=True)):
            if any(map(_hidden, Path(parent).relative_to(folder).parts)):
                continue
            images = (file for file in sorted(files) if file.lower().endswith(SUFFIXES))
            samples += [(os.path.join(parent, file), label) for file in images if not _hidden(file)]
        if len(samples) == before:
            raise InputError(
                f"{folder / name} must hold images ({', '.join(SUFFIXES)}), but it has none."
            )
    return tuple(samples)
