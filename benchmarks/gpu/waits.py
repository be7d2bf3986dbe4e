"""Counts how often the host waits for the device.

On CUDA torch itself reports it. On a CPU nothing waits, but the same calls can be seen: they are
those that read a value on the host or whose result has a size that depends on values.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["counted"]

OPERATIONS = {
    "aten::_local_scalar_dense",  # item, float, int, bool, if
    "aten::nonzero",
    "aten::is_nonzero",
    "aten::equal",
    "aten::masked_select",
    "aten::_unique2",
    "aten::lift_fresh",  # torch.tensor of host values: a copy to the device from pageable memory
}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_"}  # they wait for boolean indices
METHODS = {"tolist", "numpy", "cpu"}  # these pass no operation on a CPU


@contextlib.contextmanager
def counted(device: torch.device) -> Iterator[list[str]]:
    """Give a list that holds, at the end, one entry for each time that the host waited.

    The calls of this thread on a CPU; those of all threads on CUDA.
    """
    found: list[str] = []
    if device.type != "cuda":
        with _Methods(found), _Operations(found):
            yield found
        return
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
            said = [str(warning.message) for warning in heard]
            found += [words for words in said if "synchronizing CUDA operation" in words]


class _Operations(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function._schema.name
        if name in OPERATIONS or (name in INDEXING and _boolean(args[1])):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def _boolean(indices: Any) -> bool:
    kinds = (torch.bool, torch.uint8)
    return any(index is not None and index.dtype in kinds for index in indices)


class _Methods(TorchFunctionMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in METHODS:
            self.found.append(name)
        return function(*args, **(kwargs or {}))
