"""Tables of schedules: A(t) and α(t) as piecewise Chebyshev series, for compiled integrators.

Any `Schedule`, a user's own included, becomes rows of numbers once, to some 3e-14, in 20 to 100 µs.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.compiled.options import loop
from mirrorflow.schedules import Schedule

__all__ = ["evaluate", "last_segment", "next_segment", "tabulate"]

DEGREE = 24  # coefficients of a series
ANGLES = (np.arange(DEGREE) + 0.5) * np.pi / DEGREE
FIT = 2.0 / DEGREE * np.cos(np.multiply.outer(ANGLES, np.arange(DEGREE)))
FIT[:, 0] /= 2.0
FRACTIONS = np.append(0.0, 0.5 ** np.arange(32.0, -1.0, -1.0))
HEAD = 3  # entries of a row before its coefficients


def tabulate(schedule: Schedule, end: float) -> Array:
    """Series of A and α on [0, end], (segments, 3 + 2K).

    A row is a segment: the number of its piece between breakpoints, left, right, K coefficients of
    A, K of α. A piece is halved again and again towards its beginning, where schedules change most,
    and each part until its last coefficients are rounding. Series are fitted at points inside a
    segment, so at its right end α is the value from the left.
    """
    inside = sorted({float(t) for t in schedule.breakpoints if 0.0 < t < end})
    knots = [0.0, *inside, max(end, 1e-100)]
    segments: list[tuple[int, float, float, Array]] = []
    for piece, (start, stop) in enumerate(itertools.pairwise(knots)):
        edges = start + (stop - start) * FRACTIONS
        alphas = np.broadcast_to(schedule.alpha(edges[:-1]), edges.size - 1)
        if np.ptp(alphas) == 0.0:
            series = np.zeros((2, DEGREE))
            middle = float(schedule.total(0.5 * (start + stop)))
            series[0, :2] = middle, alphas[0] * 0.5 * (stop - start)
            series[1, 0] = alphas[0]
            segments.append((piece, start, stop, series))
        else:
            segments += _fitted(schedule, piece, edges, stop)
    segments.sort(key=lambda segment: segment[1])
    series = np.array([segment[3] for segment in segments])
    K = int(np.flatnonzero(series.any((0, 1))).max(initial=0)) + 1
    heads = np.array([segment[:HEAD] for segment in segments])
    return np.concatenate([heads, series[:, 0, :K], series[:, 1, :K]], axis=1)


def _fitted(
    schedule: Schedule, piece: int, edges: Array, stop: float
) -> list[tuple[int, float, float, Array]]:
    segments: list[tuple[int, float, float, Array]] = []
    left, right = edges[:-1], edges[1:]
    while left.size:
        half = 0.5 * (right - left)
        t = ((left + half)[:, None] + half[:, None] * np.cos(ANGLES)).ravel()
        members = (schedule.total, schedule.alpha)
        values = np.array([np.broadcast_to(member(t), t.size) for member in members])
        series = values.reshape(2, -1, DEGREE) @ FIT
        sizes = np.abs(series)
        scale, tail, before = sizes.max(2), sizes[:, :, -2:].max(2), sizes[:, :, -8:-2].max(2)
        rounding = np.maximum(2e-15 * scale, 1e-25 * scale.max(1, initial=1e-300, keepdims=True))
        rounding[0] = np.maximum(rounding[0], 1e-16)  # A enters as e^{−4A}: absolute errors count
        # coefficients that fall no more are the noise of the schedule's own functions
        noise = (tail < 1e-9 * scale) & (tail > 0.3 * before)
        rough = ((tail > rounding) & ~noise).any(0) & (half > 1e-14 * stop)
        series[np.abs(series) <= 4e-16 * scale[:, :, None]] = 0.0
        segments += [(piece, left[i], right[i], series[:, i]) for i in np.flatnonzero(~rough)]
        middle = (left + half)[rough]
        left, right = np.append(left[rough], middle), np.append(middle, right[rough])
    return segments


@loop
def next_segment(table: Any, segment: Any, t: float) -> Any:
    """The segment that holds t, from `segment` on and within its piece."""
    s = segment
    while s + 1 < table.shape[0] and t > table[s, 2] and table[s + 1, 0] == table[s, 0]:
        s += 1
    return s


@loop
def last_segment(table: Any, segment: Any) -> Any:
    """The last segment of the piece that `segment` belongs to."""
    s = segment
    while s + 1 < table.shape[0] and table[s + 1, 0] == table[s, 0]:
        s += 1
    return s


@loop
def evaluate(table: Any, segment: Any, t: float) -> Any:
    """A(t) and α(t) in `segment`, by Clenshaw's sums."""
    K = (table.shape[1] - HEAD) // 2
    left, right = table[segment, 1], table[segment, 2]
    u = (2.0 * t - left - right) / (right - left)
    a, b, c, e = 0.0, 0.0, 0.0, 0.0
    for k in range(K - 1, 0, -1):
        a, b = table[segment, HEAD + k] + 2.0 * u * a - b, a
        c, e = table[segment, HEAD + K + k] + 2.0 * u * c - e, c
    return table[segment, HEAD] + u * a - b, table[segment, HEAD + K] + u * c - e
