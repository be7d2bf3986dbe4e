"""Files of masks: written whole or not at all, read without running what they hold."""

from __future__ import annotations

import io
import zipfile
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from gpu_bench.masks.weights import Masks, check_masks, prunable
from mirrorflow.checks import InputError
from mirrorflow.runs.store import atomic_write
from mirrorflow.runs.untrusted import MAX_BYTES, file_size

__all__ = ["load", "save"]


def save(path: str | PathLike[str], masks: Masks) -> None:
    """Write masks as a plain dict of boolean tensors on the CPU, at once or not at all.

    Parameters
    ----------
    path : path
    masks : dict of bool Tensor

    Raises
    ------
    InputError
        If there is no mask, or one is empty or not boolean.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> save(path := Path(mkdtemp(), "masks.pt"), {"weight": torch.tensor([True, False])})
    >>> load(path)
    {'weight': tensor([ True, False])}
    """
    check_masks(masks)
    stream = io.BytesIO()
    torch.save({name: mask.detach().cpu().contiguous() for name, mask in masks.items()}, stream)
    atomic_write(Path(path), stream.getvalue())


def load(path: str | PathLike[str], model: nn.Module | None = None) -> dict[str, Tensor]:
    """Read masks that `save` wrote; no code in the file is run (`weights_only=True`).

    Parameters
    ----------
    path : path
    model : nn.Module, optional
        The masks must be exactly those of its prunable weights, in names and shapes.

    Returns
    -------
    dict of bool Tensor
        On the CPU.

    Raises
    ------
    InputError
        If the file is missing, damaged, holds something else, keeps no weight at all, or does not
        fit `model`. A layer without weights is no fault: a shortcut may lead past it.

    Examples
    --------
    >>> load("nowhere.pt")
    Traceback (most recent call last):
    mirrorflow.checks.InputError: nowhere.pt does not exist.
    """
    path = Path(path)
    try:
        if (size := file_size(path)) > MAX_BYTES:
            raise InputError(f"{path} has {size} bytes, more than {MAX_BYTES}.")
        _check_archive(path)
        # mapped: no tensor reaches beyond the file, whatever it claims
        masks = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except InputError:
        raise
    except Exception as error:  # what a damaged archive raises has no end
        # torch's own words advise to load it unsafely; the kind of error must do
        kind = type(error).__name__
        raise InputError(f"{path} is not a readable file of masks ({kind}).") from None
    if not isinstance(masks, dict):
        raise InputError(f"{path} must hold a dict of masks, but it is a {type(masks).__name__}.")
    for name, mask in masks.items():
        if isinstance(name, str) and isinstance(mask, Tensor) and not _dense(mask):
            entry = f"{name!r:.80} in {path}"
            raise InputError(f"{entry} must be a dense tensor of zeros and ones, but it is none.")
    weights = None if model is None else prunable(model)
    try:
        check_masks(masks, weights)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    claimed = sum(mask.numel() for mask in masks.values())
    if claimed > MAX_BYTES:  # they may share their bytes
        raise InputError(f"{path} claims masks of {claimed} entries, more than {MAX_BYTES}.")
    if weights is not None and weights.keys() - masks.keys():
        lost = sorted(weights.keys() - masks.keys())
        raise InputError(f"{path} must hold a mask for every weight, but {lost[0]} has none.")
    if not any(bool(mask.any()) for mask in masks.values()):
        raise InputError(f"{path} must keep at least one weight, but its masks keep none.")
    return {name: mask.clone() for name, mask in masks.items()}


def _check_archive(path: Path) -> None:
    """Raise unless the file is a ZIP as `torch.save` writes it; torch reads past wrong checksums.

    Raises
    ------
    zipfile.BadZipFile
        If a member is packed, or its checksum is wrong.
    """
    with zipfile.ZipFile(path) as archive:
        packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
        if packed or archive.testzip() is not None:
            raise zipfile.BadZipFile("packed or damaged")


def _dense(mask: Tensor) -> bool:
    """Whether a boolean tensor has a byte of its own, 0 or 1, for each entry.

    Strides may claim more entries than there are bytes. Other dtypes are not looked into.
    """
    if mask.layout != torch.strided or mask.is_nested or mask.device.type != "cpu":
        return False
    if mask.dtype != torch.bool or mask.numel() == 0:
        return True
    held = mask.numel() <= mask.untyped_storage().nbytes()
    return held and int(mask.view(torch.uint8).max()) <= 1
