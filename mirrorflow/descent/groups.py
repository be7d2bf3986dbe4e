"""The runs that go on, and the exact step of those that diverge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.descent.steps import Batch


class Group:
    """The runs of one regulariser that have not diverged."""

    def __init__(self, runs: NDArray[np.int64], batch: Batch) -> None:
        self.runs, self.batch = runs, batch

    def advance(
        self, strengths: Array, weights: Array | None, streams: NDArray[np.int64]
    ) -> list[tuple[int, int, Array, Array]]:
        """Make the steps; take out, and return, what diverged: run, at which step, last m, w.

        strengths (steps, all runs), ηα; weights (steps, streams, n); streams (all runs,), the
        stream of each run; steps count from 1.
        """
        strengths = strengths[:, self.runs]
        if weights is not None:
            own = streams[self.runs]
            # each run its own stream, in order: the copy would be as large as the weights
            if not np.array_equal(own, np.arange(weights.shape[1])):
                weights = np.take(weights, own, axis=1)
        before = self.batch.state.copy()
        self.batch.run(strengths, weights)
        inside = self.batch.inside()
        if inside.all():
            return []
        lost, kept = np.flatnonzero(~inside), np.flatnonzero(inside)
        again = self.batch.take(lost, before)
        ends = _repeat(again, strengths[:, lost], None if weights is None else weights[:, lost])
        diverged = self.runs[lost]
        self.batch, self.runs = self.batch.take(kept), self.runs[kept]
        return [(int(run), *ends[i]) for i, run in enumerate(diverged)]

    def read(self) -> tuple[Array, Array]:
        """m and w, both (runs, d)."""
        return self.batch.read()


def _repeat(
    batch: Batch, strengths: Array, weights: Array | None
) -> dict[int, tuple[int, Array, Array]]:
    """Make the steps one by one; for each run: at which it leaves, and its m, w before.

    Every one leaves, because the steps give the same bits as before.
    """
    ends: dict[int, tuple[int, Array, Array]] = {}
    for k in range(len(strengths)):
        last = batch.state.copy()
        batch.run(strengths[k : k + 1], None if weights is None else weights[k : k + 1])
        outside = np.flatnonzero(~batch.inside()).tolist()
        if outside:
            m, w = batch.read(last)
            for i in outside:
                ends.setdefault(i, (k + 1, m[i], w[i]))
        if len(ends) == strengths.shape[1]:
            break
    return ends
