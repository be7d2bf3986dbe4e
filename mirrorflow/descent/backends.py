"""The arrays of the batched steps: NumPy's, or torch's on a CUDA device."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array, InputError
from mirrorflow.extras import require


@dataclass(frozen=True, slots=True)
class Backend:
    """NumPy, or torch on a device; the steps use only calls that both spell alike.

    What they spell differently has a method here.
    """

    xp: ModuleType
    device: str | None

    def send(self, array: Array) -> Any:
        """`array` as a contiguous one of this backend, itself if it already is."""
        array = np.ascontiguousarray(array)
        return array if self.device is None else self.xp.tensor(array, device=self.device)

    def fetch(self, array: Any) -> Array:
        return array if self.device is None else array.cpu().numpy()

    def empty(self, *shape: int) -> Any:
        if self.device is None:
            return np.empty(shape)
        return self.xp.empty(shape, dtype=self.xp.float64, device=self.device)

    def copy(self, array: Any) -> Any:
        return array.copy() if self.device is None else array.clone()

    def columns(self, array: Any, chosen: NDArray[np.intp]) -> Any:
        """A contiguous copy of array[:, :, chosen]."""
        if self.device is None:
            return np.take(array, chosen, axis=2)
        return array.index_select(2, self.xp.tensor(chosen, device=self.device))


def backend_for(device: str) -> Backend:
    """The backend of "cpu", "cuda" or "cuda:i"."""
    if device == "cpu":
        return Backend(np, None)
    kind, _, index = str(device).partition(":")
    if kind != "cuda" or (index and not index.isdecimal()):
        raise InputError(f"device must be cpu, cuda or cuda:i, but it is {device!r}.")
    require(f"device {device!r}", "torch")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise InputError(f"device is {device!r}, but torch sees {count} CUDA devices; use 'cpu'.")
    return Backend(torch, device)
