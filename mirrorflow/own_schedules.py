"""Schedules of the user's own: what is checked of them."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np

from mirrorflow.checks import InputError, number
from mirrorflow.integrated_schedules import GRID, IntegratedSchedule, area, strength
from mirrorflow.schedules import Constant, Geometric, Harmonic, Piecewise, Quadratic

__all__ = ["check_schedule"]

FORMULAS = Constant | Harmonic | Quadratic | Geometric | Piecewise
VALUES = ("total_infinity", "alpha_infinity", "breakpoints")
FUNCTIONS = ("alpha", "total", "slope", "remaining")
AGREEMENT = 1e-6  # of a user's A with ∫α, relative: far above rounding, far below a wrong formula


def check_schedule(schedule: Any) -> None:
    """Refuse what is no schedule, or one of the user's own whose members disagree.

    At its first breakpoints and at four times after the last one: α ≥ 0, A grows by ∫α (scipy's
    `quad_vec`) and A(t) + remaining(t) = A_∞, to 1e-6 relative and the error of `quad_vec`.

    Raises
    ------
    InputError
        Names the missing members, or the time and both values.
    """
    if isinstance(schedule, FORMULAS | IntegratedSchedule):
        return
    name = type(schedule).__name__
    lacks = [member for member in VALUES + FUNCTIONS if not hasattr(schedule, member)]
    if lacks:
        ending = f" and {lacks[-1]}" if lacks[1:] else lacks[0]
        raise InputError(
            f"schedule must have the members of mirrorflow.Schedule, but {name} lacks "
            f"{', '.join(lacks[:-1])}{ending}."
        )
    for member in ("alpha", "total"):
        try:
            np.broadcast_to(getattr(schedule, member)(np.array([0.0, 1.0])), 2)
        except (TypeError, ValueError) as reason:
            raise InputError(
                f"schedule.{member} must take an array of times, but that of {name} does not "
                f"({reason})."
            ) from reason
    knots = [t for t in schedule.breakpoints if number("schedule.breakpoints", t) > 0]
    end = max(knots, default=0.0)
    alpha = partial(strength, schedule.alpha)
    marks = sorted({0.0, *sorted(knots)[:8], end})
    grown, total, A_inf = schedule.total(0.0), 0.0, schedule.total_infinity
    _compare(f"A(0) of {name}", 0.0, grown, 0.0, 0.0, 0.0)
    for before, t in itertools.pairwise([*marks, *(end + s for s in (0.01, 1.0, 100.0, 1e4))]):
        grown, last = float(schedule.total(t)), grown
        if not any(before < knot < t for knot in knots):  # else there are too many to integrate
            part, error = area(alpha, before, t, last)[:2]
            _compare(f"A(t) − A({before:g}) of {name}", t, grown - last, part, 10 * error, grown)
        total = grown + schedule.remaining(t)
        _compare(f"A(t) + remaining(t) of {name}", t, total, A_inf, 0.0, A_inf)
    if math.isfinite(A_inf):
        pieces = [area(alpha, t + a, t + b, grown) for a, b in itertools.pairwise(GRID[::6])]
        rest, error = sum(piece[0] for piece in pieces), sum(piece[1] for piece in pieces)
        slack = 10 * error + 1e4 * pieces[-1][0]  # a power of t is not over at the end
        _compare(f"remaining(t) of {name}", t, schedule.remaining(t), rest, slack, A_inf)


def _compare(what: str, t: float, stated: float, true: float, slack: float, size: float) -> None:
    """Refuse values that differ by more than `slack` and AGREEMENT of size and true."""
    if stated != true and not abs(stated - true) <= slack + AGREEMENT * (size + true) < math.inf:
        fault = f"at t = {t:g} {what} is {stated:.8g} and should be {true:.8g}"
        raise InputError(f"schedule must have A = ∫α, but {fault}.")
