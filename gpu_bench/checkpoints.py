"""Checkpoints of a run, on disk every ten seconds, so that it can be killed at any moment.

They are written beside the training, by a thread. A checkpoint is an NPZ file of plain arrays that
appears by an atomic rename. It names the run it belongs to. The last two are kept: where the last
is torn or foreign, the one before it is used.
"""

from __future__ import annotations

import contextlib
import io
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirrorflow.checks import Array, InputError
from mirrorflow.runs.store import atomic_write
from mirrorflow.runs.untrusted import read_arrays

__all__ = ["Checkpoints", "entry", "on_host", "table", "tabled"]

KEPT = 2
PERIOD = 10.0  # seconds between two, at least


class Checkpoints:
    """The checkpoints of one run, FOLDER/KEY/NUMBER.npz.

    Parameters
    ----------
    folder : Path
    key : str
        The run's: a hash of its configuration and of the code that computes it.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder / key, key
        self._saved = -math.inf
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    @property
    def due(self) -> bool:
        """Whether it is time for the next."""
        return time.monotonic() - self._saved >= PERIOD

    def save(self, number: int, arrays: Mapping[str, Array]) -> None:
        """Begin to write the state after epoch `number`; what is older than the one before goes.

        The arrays must stay as they are until `finish`, or until the next `save` begins. Raises
        what went wrong with the one before.
        """
        self.finish()
        self._saved = time.monotonic()
        self._writing = self._thread.submit(self._write, number, dict(arrays))

    def finish(self) -> None:
        """Wait until all is on disk."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, number: int, arrays: Mapping[str, Array]) -> None:
        stream = io.BytesIO()
        np.savez(stream, run=_letters(self.key), **arrays)  # type: ignore[arg-type]
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self.folder / f"{number:06d}.npz", stream.getvalue())
        for old in self._files()[KEPT:]:
            old.unlink(missing_ok=True)

    def read(self) -> Iterator[tuple[Path, dict[str, Array] | InputError]]:
        """Yield the checkpoints, newest first: their arrays, or why they are refused."""
        for path in self._files():
            try:
                arrays = read_arrays(path, ("run",), every=True)
                if not np.array_equal(arrays.pop("run"), _letters(self.key)):
                    raise InputError(f"{path} belongs to another run than {self.key}.")
            except InputError as error:
                yield path, error
            else:
                yield path, arrays

    def clear(self) -> None:
        """Remove them: the run is finished."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.npz"), reverse=True)


def entry(arrays: Mapping[str, Array], name: str, like: Array) -> Array:
    """Return an array of a checkpoint, which must have the shape and dtype of `like`."""
    array = arrays.get(name, np.empty(0))
    if array.shape != like.shape or array.dtype != like.dtype:
        raise InputError(
            f"{name} of the checkpoint must be {like.dtype} of shape {like.shape}, but it is "
            f"{array.dtype} of shape {array.shape}."
        )
    return array


def tabled(records: Sequence[Any], kind: Any) -> Array:
    """Return dataclasses of numbers as an array, a row each, a column for each field."""
    rows = [astuple(record) for record in records]
    return np.array(rows, dtype=float).reshape(-1, len(kind.__slots__))


def table(arrays: Mapping[str, Array], name: str, kind: Any) -> list[list[float]]:
    """Return the rows of such an array of a checkpoint."""
    columns = len(kind.__slots__)
    like = np.empty((np.size(arrays.get(name, ())) // columns, columns))
    rows: list[list[float]] = entry(arrays, name, like).tolist()
    return rows


def on_host(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return copies as arrays; all bytes cross the bus at once, and the device is waited for once.

    A network with batch norm has some seventy tensors, most of them tiny.
    """
    parts = [tensor.detach().reshape(-1).view(torch.uint8) for tensor in tensors.values()]
    copies = torch.cat(parts).cpu().split([len(part) for part in parts])
    return {
        name: part.numpy().view(str(tensor.dtype).removeprefix("torch.")).reshape(tensor.shape)
        for (name, tensor), part in zip(tensors.items(), copies, strict=True)
    }


def _letters(key: str) -> Array:
    return np.frombuffer(key.encode(), dtype=np.uint8)
