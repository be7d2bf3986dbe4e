"""The rows that each step of SGD sees, as weights on the residuals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.problems import random_stream

BLOCK_ENTRIES = 2**18  # of the weights (steps, streams, n): 2 MiB, stays in cache


class Minibatches:
    """Weights 1/size on `size` of n rows, 0 on the others; one stream for each seed."""

    def __init__(self, seeds: NDArray[np.int64], n: int, size: int) -> None:
        self.streams = [random_stream("descent", "minibatch", int(seed)) for seed in seeds]
        self.n, self.size = n, size
        # the rows outside a minibatch are as random as those inside: draw the smaller set
        self.inverse = 2 * size > n
        self.picks = n - size if self.inverse else size

    @property
    def longest(self) -> int:
        """Steps whose weights stay in cache."""
        return max(1, BLOCK_ENTRIES // (self.n * len(self.streams)))

    def next(self, steps: int) -> Array:
        """Weights of the next steps, (steps, streams, n), however calls split the steps."""
        n, streams = self.n, len(self.streams)
        uniform = np.empty((streams, steps, self.picks))
        for generator, out in zip(self.streams, uniform, strict=True):
            generator.random(out=out)
        samples = steps * streams
        exchange = np.ascontiguousarray(uniform.T).reshape(self.picks, samples)
        picked, other = (0.0, 1.0 / self.size) if self.inverse else (1.0 / self.size, 0.0)
        weights = np.full(steps * n * streams, other)
        # the first `picks` exchanges of Fisher and Yates' shuffle, for all samples at once:
        # entry i·samples + j of `rows` is row i in the order of sample j
        rows = np.repeat(np.arange(n, dtype=np.int32), samples)
        each = np.arange(samples)
        for i in range(self.picks):
            position = (i + (exchange[i] * (n - i)).astype(np.int64)) * samples + each
            row = rows[position]
            rows[position] = rows[i * samples : (i + 1) * samples]
            weights[each * n + row] = picked
        return weights.reshape(steps, streams, n)
