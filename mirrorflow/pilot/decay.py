"""Free decay: what weight decay takes off m² − w² where there is no gradient, and how fast."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, brief, number, real_array, vector

__all__ = ["alpha_for_total", "free_total", "largest_total", "steps_for_total"]

STEEPEST = 2.0  # d log A/d log α: beyond, A is the nearness of a zero of c_K and no run keeps it
LARGEST = 100.0  # of A: e^{−4A} is below every float32


def free_total(
    rates: ArrayLike, alpha: ArrayLike, momentum: float = 0.0, nesterov: bool = False
) -> float:
    """A = −½ log|c_K| of SGD without gradient, in which m² − w² = c_K²(m₀² − w₀²).

        b ← μb + 2αc,   c ← c − ηb      (Nesterov: c ← c − η(2αc + μb)),      c₀ = 1, b₀ = 0

    For small steps it is the nominal Σ ηα/(1 − μ). But momentum has a speed limit: where
    2ηα > (1 − √μ)² (Nesterov: ((1 − μ)/(1 + μ))²) c swings through 0 within an envelope of √μ a
    step, so at constant ηα no strength takes more than a factor μ a step off m² − w²; at μ = 0.9
    a unit of A takes at least 38 steps.

    Parameters
    ----------
    rates : (steps,) array
        η_k ≥ 0 of every step.
    alpha : float or (steps,) array
        α_k ≥ 0.
    momentum : float in [0, 1)
        μ of SGD, without dampening.
    nesterov : bool

    Returns
    -------
    float
        A, without unit: ∞ where c_K = 0, −∞ where the decay itself diverges.

    Raises
    ------
    InputError
        If a number is out of its range or every η_k is 0.

    Examples
    --------
    >>> round(free_total([0.1] * 400, 0.005, momentum=0.9), 3)
    2.177
    """
    steps, momentum = _checked(rates, momentum)
    if np.ndim(alpha):
        strengths = vector("alpha", alpha, len(steps), "rates")
        if strengths.min() < 0.0:
            raise InputError(f"alpha must be at least 0, but it is {brief(alpha)}.")
    else:
        strengths = np.full(len(steps), number("alpha", alpha, 0.0))
    c, _, _ = _shrink(steps.tolist(), strengths.tolist(), momentum, nesterov)
    if c == 0.0:
        return math.inf
    return -0.5 * math.log(abs(c)) if math.isfinite(c) else -math.inf


def alpha_for_total(
    total: float, rates: ArrayLike, momentum: float = 0.0, nesterov: bool = False
) -> float:
    """The constant α whose decay alone takes m² − w² down to e^{−4·total} of its start.

    It solves `free_total` = `total` below the first α at which some c_k is 0. Near that α the
    root is only the nearness of a zero, which no gradient leaves in its place: where A rises
    faster than α² it is refused. The threshold 2 is a choice. docs/total_decay.md: a run of SGD
    ends at this scale up to a tenth where it is far from the limit, and 2 to 4 are good totals.
    Nothing is known of Adam, whose decay is another one (`parameter_groups`).

    Parameters
    ----------
    total : float in [0, 100]
        A, without unit.
    rates : (steps,) array
        η_k ≥ 0 of every step, so `np.repeat(rates, steps_per_epoch)` where there is one per epoch.
    momentum : float in [0, 1)
        μ of SGD, without dampening.
    nesterov : bool

    Returns
    -------
    float
        α.

    Raises
    ------
    InputError
        If a number is out of its range, every η_k is 0, or the steps are too few for `total`:
        the sentence names how many it needs.

    Examples
    --------
    >>> round(alpha_for_total(2.0, [0.1] * 400, momentum=0.9), 6)
    0.004635
    """
    total = number("total", total, 0.0, LARGEST)
    steps, momentum = _checked(rates, momentum)
    alpha, steepness = _solve(total, steps, momentum, nesterov)
    if steepness > STEEPEST:
        raise InputError(
            f"total must be at most {largest_total(steps, momentum, nesterov):.3g} over these "
            f"{len(steps)} steps at momentum {momentum:g}, decay can't act faster, but it is "
            f"{total:g}, which needs {steps_for_total(total, steps, momentum, nesterov)} steps."
        )
    return number("alpha", alpha, 0.0)


def largest_total(
    rates: ArrayLike, momentum: float = 0.0, nesterov: bool = False, at_most: float = LARGEST
) -> float:
    """The largest `total` up to `at_most` that `alpha_for_total` accepts.

    Parameters
    ----------
    rates, momentum, nesterov
        As in `alpha_for_total`.
    at_most : float in [0, 100]

    Returns
    -------
    float
        A, without unit.

    Raises
    ------
    InputError
        If a number is out of its range or every η_k is 0.

    Examples
    --------
    >>> round(largest_total([0.1] * 400, momentum=0.9), 2)
    6.98
    """
    steps, momentum = _checked(rates, momentum)
    low, high = 0.0, number("at_most", at_most, 0.0, LARGEST)
    guess = high  # most runs can have what is asked
    while high - low > 1e-6 * high:
        accepted = _solve(guess, steps, momentum, nesterov)[1] <= STEEPEST
        low, high = (guess, high) if accepted else (low, guess)
        guess = 0.5 * (low + high)
    return low


def steps_for_total(
    total: float, rates: ArrayLike, momentum: float = 0.0, nesterov: bool = False
) -> int:
    """The fewest steps in which a schedule of this shape can spend `total`.

    The shape is stretched or shrunk: step k of K takes η of step ⌊k · steps/K⌋.

    Parameters
    ----------
    total, rates, momentum, nesterov
        As in `alpha_for_total`.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If a number is out of its range or every η_k is 0.

    Examples
    --------
    >>> steps_for_total(2.0, [0.1] * 400, momentum=0.9)
    107
    """
    total = number("total", total, 0.0, LARGEST)
    steps, momentum = _checked(rates, momentum)

    def enough(count: int) -> bool:
        stretched = steps[np.arange(count) * len(steps) // count]
        return bool(stretched.max()) and _solve(total, stretched, momentum, nesterov)[1] <= STEEPEST

    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _checked(rates: ArrayLike, momentum: float) -> tuple[Array, float]:
    steps = real_array("rates", rates, 1)
    momentum = number("momentum", momentum, 0.0, 1.0)
    if steps.min() < 0 or steps.max() == 0 or momentum == 1.0:
        raise InputError(
            f"rates must be at least 0 and not all 0, and momentum below 1, but they are "
            f"{brief(rates)} and {momentum:g}."
        )
    return steps, momentum


def _solve(total: float, rates: Array, momentum: float, nesterov: bool) -> tuple[float, float]:
    """Return α with A(α) = total below the first zero, and d log A/d log α there.

    A rises from 0 to ∞ between 0 and that zero: Newton's method, halving where it leaves.
    """
    alpha, steps = total * (1.0 - momentum) / float(rates.sum()), rates.tolist()
    low, high, steepness = 0.0, math.inf, 1.0
    # within rounding of the zero A jumps from one number to the next
    while alpha > 0.0 and math.isfinite(alpha) and high - low > 1e-14 * low:
        c, dc, lowest = _shrink(steps, [alpha] * len(steps), momentum, nesterov)
        reached, steepness = math.inf, math.inf
        if lowest > 0.0:
            reached = -0.5 * math.log(c)
            steepness = -0.5 * dc / (c * reached)
        if abs(reached - total) <= 1e-13 * total:
            break
        low, high = (alpha, high) if reached < total else (low, alpha)
        guess = alpha * (1.0 + (total / reached - 1.0) / steepness) if lowest > 0.0 else high
        alpha = guess if low < guess < high else min(2.0 * low, 0.5 * (low + high)) or 0.5 * high
    return alpha, steepness


def _shrink(
    rates: Sequence[float], alphas: Sequence[float], momentum: float, nesterov: bool
) -> tuple[float, float, float]:
    """Return c_K, its derivative by the logarithm of a factor on all α_k, and the lowest c_k."""
    c, dc, b, db, lowest = 1.0, 0.0, 0.0, 0.0, 1.0
    for eta, alpha in zip(rates, alphas, strict=True):
        g, dg = 2.0 * alpha * c, 2.0 * alpha * (c + dc)
        b, db = momentum * b + g, momentum * db + dg
        if nesterov:
            c -= eta * (g + momentum * b)
            dc -= eta * (dg + momentum * db)
        else:
            c -= eta * b
            dc -= eta * db
        lowest = min(lowest, c)
    return c, dc, lowest
