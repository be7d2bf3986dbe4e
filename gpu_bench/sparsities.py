"""Sparsities of tables: which of those at hand stand for the usual ones."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mirrorflow.checks import InputError

__all__ = ["TABULATED", "ahead", "check_sparsities", "free", "near", "nearest", "tabulated"]

TABULATED = (0.8, 0.9, 0.95, 0.98)
# Half a step of iterative pruning, in the logarithm of the share that is kept; the last digit is
# for counts of weights, which are whole. Levels 1 − 0.8^k leave no sparsity without a neighbour.
NEAR = 0.5 * math.log(1.0 / 0.8) + 1e-3

FREE = 0.01  # of the accuracy: what a cut may cost that counts as free


def free(sparsities: Iterable[float], accuracies: Iterable[float], uncut: float) -> float:
    """Return the largest sparsity up to which every cut costs at most a point of accuracy.

    0 where the least one costs more; NaN without an accuracy.

    >>> free([0.8, 0.9, 0.95], [0.98, 0.97, 0.5], uncut=0.98)
    0.9
    """
    if math.isnan(uncut):
        return math.nan
    largest = 0.0
    for sparsity, accuracy in sorted(zip(sparsities, accuracies, strict=True)):
        if accuracy < uncut - FREE - 1e-9:  # shares of whole images are rounded
            break
        largest = sparsity
    return largest


def ahead(sparsity: float, wanted: float) -> float:
    """Return log(share kept that is wanted/share kept): above 0 where there are more zeros."""
    return math.log((1.0 - wanted) / max(1.0 - sparsity, 1e-9))


def tabulated(sparsities: Iterable[float]) -> list[float]:
    """Return the sparsities of the table, whose masks are kept on disk: near `TABULATED`."""
    there = sorted(sparsities)
    return list(dict.fromkeys(nearest(there, wanted) for wanted in TABULATED))


def nearest(sparsities: Iterable[float], wanted: float) -> float:
    """Return the sparsity whose share of kept weights has the ratio nearest to 1."""
    return min(sparsities, key=lambda sparsity: abs(ahead(sparsity, wanted)))


def near(sparsity: float, wanted: float) -> bool:
    """Say whether the kept shares differ by no more than half a step of iterative pruning."""
    return abs(ahead(sparsity, wanted)) <= NEAR


def check_sparsities(flag: str, sparsities: tuple[float, ...]) -> None:
    """Raise InputError unless there are sparsities and each lies in [0, 1)."""
    if not sparsities:
        raise InputError(f"{flag} must hold at least one entry.")
    for sparsity in sparsities:
        if not 0.0 <= sparsity < 1.0:
            raise InputError(f"{flag} must lie in [0, 1), but one is {sparsity}.")
