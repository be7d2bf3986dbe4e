"""Random streams keyed by names."""

from __future__ import annotations

import numpy as np

__all__ = ["random_stream"]


def random_stream(*key: str | int) -> np.random.Generator:
    """A generator keyed by names and numbers: adding one never shifts another's data.

    Parameters
    ----------
    *key : str or int
        In the order that names the stream.

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> [int(random_stream("noise", 3).integers(1000)) for _ in range(2)]
    [49, 49]
    """
    words = [int.from_bytes(str(part).encode(), "little") for part in key]
    return np.random.default_rng(np.random.SeedSequence(words))
