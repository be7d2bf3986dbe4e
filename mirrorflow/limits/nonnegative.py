"""Least squares over u ≥ 0, with a penalty on Σu: the active-set method of Lawson and Hanson.

The method ("Solving Least Squares Problems", 1974, ch. 23) takes columns in and out one at a time.
The linear term of the penalty changes one thing: a column that depends on those at work may still
lower the objective, and then takes the place of one of them.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import qr_delete, qr_insert, solve_triangular

from mirrorflow.checks import Array

__all__ = ["DEPENDENT", "FaceError", "least_squares"]

ROUNDING = 16 * float(np.finfo(float).eps)
DEPENDENT = 1e-11  # a column's part off the range of others, in its own length, that counts as 0


class FaceError(RuntimeError):
    """A polyhedral question could not be answered; the message says what to change."""


class _Passive:
    """Columns of B at work, a QR factorization of them, and their entries of u."""

    def __init__(self, B: Array, target: Array, penalty: float) -> None:
        self.B, self.target, self.penalty = B, target, penalty
        self.Q, self.R = np.eye(B.shape[0]), np.empty((B.shape[0], 0))
        self.on: list[int] = []
        self.u = np.zeros(B.shape[1])

    def insert(self, j: int) -> None:
        self.Q, self.R = qr_insert(self.Q, self.R, self.B[:, j], len(self.on), which="col")
        self.on.append(j)

    def remove(self, place: int) -> None:
        self.u[self.on.pop(place)] = 0.0
        self.Q, self.R = qr_delete(self.Q, self.R, place, which="col")

    def dependence(self, j: int) -> tuple[Array, float]:
        """c with B_j ≈ B_on c, and the length of B_j − B_on c."""
        along, k = self.Q.T @ self.B[:, j], len(self.on)
        c = solve_triangular(self.R[:k], along[:k]) if k else np.zeros(0)
        return c, float(np.linalg.norm(along[k:]))

    def exchange(self, j: int, c: Array) -> bool:
        """Put u_j, with B_j = B_on c, in the place of the first entry that it drives to 0."""
        entries = self.u[self.on]
        ratios = np.divide(entries, c, where=c > 0, out=np.full(c.size, np.inf))
        if not np.isfinite(ratios).any():
            return False
        place = int(np.argmin(ratios))
        self.u[self.on] = np.maximum(entries - ratios[place] * c, 0.0)
        self.u[j] = ratios[place]
        self.remove(place)
        return True

    def settle(self) -> None:
        """Minimise on the columns at work; those whose entries would turn negative leave."""
        while self.on:
            k = len(self.on)
            lowered = solve_triangular(self.R[:k], np.full(k, self.penalty), trans="T")
            goal = solve_triangular(self.R[:k], (self.Q.T @ self.target)[:k] - lowered)
            if goal.min() > 0:
                self.u[self.on] = goal
                return
            entries = self.u[self.on]
            falling = goal <= 0
            ratios = np.full(k, np.inf)
            ratios[falling] = entries[falling] / np.maximum(entries - goal, 1e-300)[falling]
            place = int(np.argmin(ratios))
            self.u[self.on] = np.maximum(entries + ratios[place] * (goal - entries), 0.0)
            self.remove(place)


def least_squares(B: Array, target: Array, penalty: float = 0.0) -> Array:
    """u ≥ 0 that minimises ½‖Bu − target‖² + penalty·Σu; its positive entries have independent
    columns.

    Parameters
    ----------
    B : (r, N) array
    target : (r,) array
    penalty : float ≥ 0

    Returns
    -------
    (N,) array
        Bᵀ(target − Bu) is the penalty where u > 0, and nowhere larger by more than rounding and
        1e-12 of the penalty.

    Raises
    ------
    FaceError
        If after 10N + 10 exchanges of columns the set still changes.
    """
    lengths, size = np.linalg.norm(B, axis=0), float(np.linalg.norm(target))
    passive, refused = _Passive(B, target, penalty), lengths == 0
    for _ in range(10 * B.shape[1] + 10):
        u = passive.u
        gains = B.T @ (target - B @ u) - (1 + 1e-12) * penalty
        gains = np.divide(gains, lengths, where=~refused, out=np.full(gains.size, -np.inf))
        gains[passive.on] = -np.inf
        j = int(np.argmax(gains)) if gains.size else 0
        if not gains.size or gains[j] <= ROUNDING * (size + float(lengths @ u)):
            return u
        c, off = passive.dependence(j)
        if off <= DEPENDENT * lengths[j] and not (penalty > 0 and passive.exchange(j, c)):
            refused[j] = True
            continue
        passive.insert(j)
        passive.settle()
        if j in passive.on:
            refused = lengths == 0
        else:  # what it seemed to gain was rounding
            refused[j] = True
    raise FaceError(
        "Nearly equal columns of Z keep replacing each other; remove one of each such pair or "
        "divide each column by its norm."
    )
