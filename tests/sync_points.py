"""Counter of synchronisation points: calls that would make the host wait for a GPU.

On a CPU nothing waits, but the same calls can be seen: they are those that read a value on the host
or whose result has a size that depends on values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.vision_parts import Setting

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
def counted() -> Iterator[list[str]]:
    """Give a list that gets one entry for each synchronisation point of this thread."""
    found: list[str] = []
    with _Methods(found), _Operations(found):
        yield found


def of_an_epoch(setting: Setting, name: str) -> list[str]:
    """Return the synchronisation points of the second of two epochs, evaluation included."""
    batches = setting.batches()
    trainer = setting.trainer(name, epochs=2)
    found: list[str] = []
    with contextlib.ExitStack() as stack:

        def tell(record: Any) -> None:  # called between the epochs
            nonlocal found
            if len(trainer.history.epochs) == 1:
                found = stack.enter_context(counted())
            else:
                stack.close()

        trainer.train(batches, lambda: trainer.accuracy(batches.evaluation()), tell)
    return found


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
