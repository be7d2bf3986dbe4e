"""Check that a start belongs to a problem, and that a kernel of a user's is a mirror map."""

from __future__ import annotations

from typing import Any

import numpy as np

from mirrorflow.checks import InputError
from mirrorflow.maps.base import DX, MirrorMap, X

__all__ = ["check_pair"]


def _check_increasing(start: MirrorMap) -> None:
    """Refuse a kernel of a user's whose X falls where it is tried."""
    low, high = start.domain
    points = np.stack([np.maximum(-1.0, 0.5 * low), np.zeros(start.d), np.minimum(1.0, 0.5 * high)])
    rows = np.stack([start.at(mu) for mu in points])
    falls = (np.diff(rows[:, X], axis=0) < 0).any(0) | (rows[:, DX] < 0).any(0)
    if falls.any():
        j = int(np.argmax(falls))
        raise InputError(
            f"start must have an X that increases with μ, but {type(start).__name__}'s point makes "
            f"x[{j}] {rows[:, X, j]} and X′ {rows[:, DX, j]} at μ = {points[:, j]}."
        )


def check_pair(problem: Any, start: MirrorMap) -> None:
    """Refuse a start that does not belong to the problem, or whose x does not increase."""
    from mirrorflow.problems import Regression

    if not isinstance(problem, Regression) or not isinstance(start, MirrorMap):
        raise InputError(
            "problem must be a Regression and start a parametrization such as Factors, but they "
            f"are {type(problem).__name__} and {type(start).__name__}."
        )
    if start.d != problem.d:
        raise InputError(
            f"start must have d = {problem.d} coordinates like the problem, but it has {start.d}."
        )
    if not start.point.function.__module__.startswith("mirrorflow."):
        _check_increasing(start)
