"""Least squares over u ≥ 0, with a penalty on Σu: the active-set method of Lawson and Hanson."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.linalg import qr, qr_delete, qr_insert, solve_triangular

from mirrorflow.checks import Array

__all__ = ["DEPENDENT", "FaceError", "least_squares"]

ROUNDING = 16 * float(np.finfo(float).eps)
DEPENDENT = 1e-11  # a column's part off the range of others, in its own length, that counts as 0


class FaceError(RuntimeError):
    """A polyhedral question could not be answered; the message says what to change."""


def least_squares(
    B: Array, target: Array, penalty: float = 0.0, start: Iterable[int] = ()
) -> tuple[Array, Array]:
    """argmin ½‖Bu − target‖² + penalty·Σu over u ≥ 0, with independent columns where u > 0.

    Columns join one at a time and leave where their entries would turn negative (Lawson, Hanson,
    "Solving Least Squares Problems", 1974, ch. 23). The penalty changes one thing: a column that
    depends on those at work may still lower the objective, and takes the place of one of them.
    FaceError if after 10N + 10 columns the set still changes.

    Parameters
    ----------
    B : (r, N) array
    target : (r,) array
    penalty : float ≥ 0
    start : indices of independent columns
        Those at work first, where without signs they have entries ≥ 0.

    Returns
    -------
    u : (N,) array
    residual : (r,) array
        θ = target − Bu, free of the target's rounding along the columns at work. Bᵀθ is the penalty
        where u > 0, and elsewhere larger by at most rounding and 1e-12 of the penalty.
    """
    lengths, size = np.linalg.norm(B, axis=0), float(np.linalg.norm(target))
    u, on, refused = np.zeros(B.shape[1]), list(start), lengths == 0
    Q, R = _factors(B, on)
    for _ in range(10 * B.shape[1] + 10):
        u[on], residual = _solve(Q, R, target, penalty)
        gains = B.T @ residual - (1 + 1e-12) * penalty
        gains = np.divide(gains, lengths, where=~refused, out=np.full(gains.size, -np.inf))
        gains[on] = -np.inf
        if gains.max(initial=-np.inf) <= ROUNDING * (size + float(lengths @ u)):
            on.sort()  # once anew: updates have rounded
            Q, R = np.linalg.qr(B[:, on])
            lowered = np.linalg.solve(R.T, np.full(len(on), penalty))
            u[on] = np.maximum(np.linalg.solve(R, Q.T @ target - lowered), 0.0)
            return u, residual
        j = int(np.argmax(gains))
        Q, R = qr_insert(Q, R, B[:, j], len(on), which="col")
        on.append(j)
        while on:
            k, entries = len(on), u[on]
            free = k > R.shape[0] or abs(R[k - 1, -1]) <= DEPENDENT * lengths[on[-1]]
            if free:  # the fit stays as it is along this direction
                direction = np.append(-_triangular(R[: k - 1, : k - 1], R[: k - 1, -1]), 1.0)
            else:
                direction = _solve(Q, R, target, penalty)[0] - entries
            ratios = np.full(k, np.inf)
            np.divide(entries, -direction, where=direction < 0, out=ratios)
            position = int(np.argmin(ratios))
            step = float(ratios[position])
            if step >= 1 and not free:
                break
            if free and (penalty == 0 or np.isinf(step)):  # what it seemed to gain was rounding
                position, step = k - 1, 0.0
            u[on] = np.maximum(entries + step * direction, 0.0)
            u[on.pop(position)] = 0.0
            Q, R = qr_delete(Q, R, position, which="col")
        if j in on:
            refused = lengths == 0
        else:
            refused[j] = True
    raise FaceError(
        "Nearly equal columns of Z keep replacing each other; remove one of each such pair or "
        "divide each column by its norm."
    )


def _factors(B: Array, on: list[int]) -> tuple[Array, Array]:
    return qr(B[:, on]) if on else (np.eye(B.shape[0]), np.empty((B.shape[0], 0)))


def _solve(Q: Array, R: Array, target: Array, penalty: float) -> tuple[Array, Array]:
    """The minimiser without signs on the columns QR, and its residual."""
    k, along = R.shape[1], Q.T @ target
    lowered = _triangular(R[:k], np.full(k, penalty), "T")
    return _triangular(R[:k], along[:k] - lowered), Q[:, :k] @ lowered + Q[:, k:] @ along[k:]


def _triangular(R: Array, b: Array, trans: str = "N") -> Array:
    return solve_triangular(R, b, trans=trans) if b.size else b  # scipy 1.13 refuses none
