"""Integrated schedules: α(t) of the user's own, of which nothing else is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import ArrayLike
from scipy.integrate import quad_vec

from mirrorflow.checks import LATEST, InputError, ascending, brief, number

__all__ = ["GRID", "IntegratedSchedule", "area", "strength"]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
NODES, WEIGHTS = 0.5 + 0.5 * NODES, 0.5 * WEIGHTS  # on [0, 1]
GRID = [0.0, *(2.0**k for k in range(167)), LATEST]  # quad_vec halves these pieces as needed


def strength(alpha: Callable[[Any], Any], t: Any) -> Any:
    """α(t), refused where it is negative or no number."""
    with np.errstate(all="ignore"):
        values = np.asarray(alpha(t), dtype=np.float64)
    wrong = ~((values >= 0.0) & np.isfinite(values))
    if wrong.any():
        fault = f"at t = {np.broadcast_to(t, values.shape)[wrong][0]:g} it is {values[wrong][0]:g}"
        raise InputError(f"schedule.alpha must be at least 0 and finite, but {fault}.")
    return values[()]


def area(alpha: Callable[[Any], Any], low: float, high: float, before: float) -> Any:
    """∫α from `low` to `high`, its error, and what is known of the pieces; A(low) = `before`.

    Not by `quad`: its extrapolation was seen to miss a narrow α and to state a tiny error.
    """
    least = max(1e-18 * before, 1e-300)
    return quad_vec(alpha, low, high, least, 1e-13, limit=200, full_output=True)


class IntegratedSchedule:
    """A schedule of which α(t) is known, by `Schedule.of`, where it is described.

    A(t) is the sum over the pieces on which Gauss and Kronrod's 21 points agree, and 24 points of
    Gauss from the last edge to t: all terms are positive, so that no digits cancel.
    """

    def __init__(
        self,
        alpha: Callable[[Any], Any],
        breakpoints: ArrayLike,
        total_infinity: float | None,
        alpha_infinity: float | None,
    ) -> None:
        if not callable(alpha):
            raise InputError(f"alpha must be a function of t, but it is {brief(alpha)}.")
        knots = ascending("breakpoints", breakpoints).tolist() if np.size(breakpoints) else []
        try:
            many = np.shape(alpha(np.array([0.5, 1.0]))) == (2,)
        except (TypeError, ValueError):
            many = False
        known = alpha if many else np.vectorize(alpha, otypes=[float])
        self.alpha: Callable[[Any], Any] = partial(strength, known)
        edges, areas, doublings = [0.0], [0.0], [0.0]
        for low, high in itertools.pairwise(sorted({*GRID, *knots})):
            part, error, pieces = area(self.alpha, low, high, sum(doublings))
            doublings.append(part)
            if error > 1e-12 * sum(doublings):
                raise InputError(
                    f"alpha must be smooth between breakpoints and settle, but ∫α from t = {low:g} "
                    f"to {high:g} is {part:.3g} with an error of {error:.2g}; name the times where "
                    f"it jumps or bends, and let it end."
                )
            order = np.argsort(pieces.intervals[:, 1])
            edges += pieces.intervals[order, 1].tolist()
            areas += pieces.integrals[order].ravel().tolist()
        early, late = self.alpha(LATEST**0.8), self.alpha(LATEST)
        if alpha_infinity is None:  # a limit, or a fall towards 0
            alpha_infinity = float(late) if abs(late - early) <= 1e-6 * late else 0.0
            if late > 2.0 * early:
                raise InputError("alpha_infinity must be given where alpha grows without end.")
        alpha_infinity = number("alpha_infinity", alpha_infinity, 0.0)
        reached = math.fsum(areas)
        if total_infinity is None:
            total_infinity = _endless(reached, doublings, alpha_infinity)
        total_infinity = number("total_infinity", total_infinity, 0.0, infinite=True)
        endless = alpha_infinity > 0 and math.isfinite(total_infinity)
        if endless or total_infinity < (1.0 - 1e-9) * reached:
            raise InputError(
                f"total_infinity must be ∫α, but it is {total_infinity:g}, while ∫α up to t = "
                f"{LATEST:g} is {reached:g} and alpha_infinity is {alpha_infinity:g}."
            )
        self.total_infinity, self.alpha_infinity = total_infinity, alpha_infinity
        self.breakpoints = tuple(t for t in knots if t > 0)
        self._edges, self._totals = np.array(edges), np.cumsum(areas)  # A at the edges
        rests = np.cumsum([max(total_infinity - reached, 0.0), *areas[:0:-1]])
        self._rests = rests[::-1]  # A_∞ − A there

    def __repr__(self) -> str:
        return f"Schedule.of(…, breakpoints={self.breakpoints}): ∫α = {self.total_infinity:g}"

    def _piece(self, t: Any) -> Any:
        """The number of the piece with t inside or at its start."""
        return np.clip(np.searchsorted(self._edges, t, side="right") - 1, 0, self._edges.size - 2)

    def _integral(self, low: Any, high: Any) -> Any:
        """∫α within a piece."""
        width = np.asarray(high - low)
        values = self.alpha(np.asarray(low)[..., None] + width[..., None] * NODES)
        return width * (values * WEIGHTS).sum(axis=-1)  # a product with BLAS rounds by its shape

    def total(self, t: Any) -> Any:
        t = np.asarray(t, float)
        i, inside = self._piece(t), np.minimum(t, LATEST)
        values = self._totals[i] + self._integral(self._edges[i], inside)
        return np.where(t > LATEST, self.total_infinity, values)[()]

    def slope(self, t: float) -> float:
        ends = self._edges[self._piece(t) :][:2]
        return float(Chebyshev.interpolate(self.alpha, 20, ends).deriv()(min(t, LATEST)))

    def remaining(self, t: float) -> float:
        after = self._piece(t) + 1
        rest = self._integral(min(t, LATEST), self._edges[after])
        return float(self._rests[after] + rest) if t <= LATEST else self._rests[-1]


def _endless(reached: float, doublings: Sequence[float], alpha_infinity: float) -> float:
    """∫α to infinity from its parts up to 2ᵏ, the last of which ends between two powers."""
    before, last = doublings[-3:-1]
    if alpha_infinity > 0 or (last > 0 and last >= (1.0 - 1e-9) * before):
        return math.inf
    if last > 1e-14 * reached:
        raise InputError(
            f"total_infinity must be given, because alpha falls too slowly to find it: ∫α still "
            f"grows by {last:.2g} of {reached:.6g} when t doubles at {LATEST:g}."
        )
    return reached
