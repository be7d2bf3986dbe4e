"""Targets of limits: the predictions z = Zx that a flow ends with, for any loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.optimize import linprog

from mirrorflow.checks import Array, InputError
from mirrorflow.losses import Squared
from mirrorflow.problems import Regression
from mirrorflow.rowspace import RowSpace

__all__ = ["targets"]

ENOUGH = 1e-15  # squared Newton decrement, relative to the loss
APART = 1e-6  # margin, in units of the largest |z|, at which data count as separated


def targets(problem: Regression) -> tuple[RowSpace, Array]:
    """The row space with what minimises Σφ over {Zx} in place of y, and that ŷ (n,) itself.

    `consistent` says whether it minimises each φ by itself, as Zx = y does for the squared loss.

    Raises
    ------
    InputError
        If Σφ has no minimum, as for separable labels.
    """
    space, loss = problem.row_space, problem.loss
    if isinstance(loss, Squared):
        return space, problem.y if space.consistent else space.fit(space.b)
    best = loss.minimiser(problem.y)
    endless = np.isinf(best)
    if not endless.any():
        reached = space.towards(best)
        if reached.consistent:
            return reached, best
    elif _separable(space.U, best, endless):
        raise InputError(
            "the loss has no minimum on these data (separable): some x lowers it without end; use "
            "finite times, or a penalty that stays."
        )
    fit = space.U @ _minimum(problem, space.U, np.where(endless, 0.0, best))
    return dataclasses.replace(space.towards(fit), consistent=False), fit


def _separable(U: Array, best: Array, endless: NDArray[np.bool_]) -> bool:
    """Whether some z = Uc ≠ 0 has z_i of the sign of each infinite minimiser, or 0, and z_i = 0
    elsewhere."""
    rank, inside = U.shape[1], np.sign(best[endless])[:, None] * U[endless]
    count = len(inside)
    # the largest Σt with t ≤ ±z and 0 ≤ t ≤ 1
    result = linprog(
        np.append(np.zeros(rank), -np.ones(count)),
        A_ub=scipy.sparse.hstack([-inside, scipy.sparse.eye_array(count)]).tocsr(),
        b_ub=np.zeros(count),
        A_eq=np.hstack([U[~endless], np.zeros((len(U) - count, count))])
        if count < len(U)
        else None,
        b_eq=np.zeros(len(U) - count) if count < len(U) else None,
        bounds=[(None, None)] * rank + [(0.0, 1.0)] * count,
    )
    return result.status != 0 or -result.fun > APART


def _minimum(problem: Regression, U: Array, start: Array) -> Array:
    """argmin_c Σφ(Uc, y) by Newton's method."""
    loss, y = problem.loss, problem.y
    c = U.T @ start
    for _ in range(500):
        z = U @ c
        gradient, curvature = U.T @ loss.slope(z, y), loss.curvature(z, y)
        H: Any = (U.T * np.maximum(curvature, 1e-12 * curvature.max(initial=1e-300))) @ U
        step = -np.linalg.solve(H, gradient)
        value, descent, length = float(loss.value(z, y).sum()), float(-gradient @ step), 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            while length > 1e-12:
                after = float(loss.value(U @ (c + length * step), y).sum())
                if after <= value - 1e-4 * length * descent + 1e-14 * abs(value):
                    break
                length *= 0.5
        c = c + length * step
        if descent <= ENOUGH**2 * abs(value) or np.abs(step).max() <= ENOUGH * np.abs(c).max():
            return c
    return c
