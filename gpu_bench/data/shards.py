"""Shards: the part of every batch and of the test images that is one process's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mirrorflow.checks import InputError, whole

__all__ = ["Shard"]


@dataclass(frozen=True, slots=True)
class Shard:
    """Rank `rank` of `ranks`: a contiguous part of every batch and of the test images.

    The ranks' parts are disjoint; one after the other they are what a single process sees.

    >>> import torch
    >>> Shard(1, 2).of_batches(torch.arange(9), batch_size=4).tolist()
    [[2, 3], [6, 7]]
    >>> Shard(1, 2).of_test(5)
    slice(2, 5, None)
    """

    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        whole("rank", self.rank, 0, whole("ranks", self.ranks, 1) - 1)

    def size(self, batch_size: int) -> int:
        """Return how many of a batch's images are this rank's: batch_size / ranks, evenly."""
        if batch_size % self.ranks:
            raise InputError(
                f"batch_size must be divisible by the number of ranks ({self.ranks}), but it is "
                f"{batch_size}."
            )
        return batch_size // self.ranks

    def of_batches(self, order: Tensor, batch_size: int) -> Tensor:
        """(…, N) → (…, ⌊N/batch_size⌋, size): this rank's entries of every full batch."""
        size = self.size(batch_size)
        full = order.shape[-1] // batch_size
        batches = order[..., : full * batch_size].unflatten(-1, (full, batch_size))
        return batches[..., self.rank * size : (self.rank + 1) * size]

    def of_test(self, total: int) -> slice:
        """Return this rank's part of `total` test images; sizes differ by at most one."""
        start, stop = (rank * total // self.ranks for rank in (self.rank, self.rank + 1))
        return slice(start, stop)
