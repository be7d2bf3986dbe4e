r"""Regularisation schedules α(t) and their exact integrals A(t) = ∫₀ᵗ α_s ds.

α multiplies ‖m‖² + ‖w‖² in F_t(m, w) = f(m ⊙ w) + α_t(‖m‖² + ‖w‖²); A enters everything
else through e^{−4A}. Time is flow time, A has no unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import LATEST, SHORTEST, Array, InputError, ascending, brief, number, vector
from mirrorflow.schedule_protocol import Schedule

__all__ = ["Constant", "Geometric", "Harmonic", "Piecewise", "Quadratic", "Schedule"]


def _duration(name: str, value: float) -> float:
    """A positive time, in the range of flow times."""
    return number(name, number(name, value, 0.0, open_low=True), SHORTEST, LATEST)


def _bounded(name: str, total: float) -> None:
    """Refuse a total that float64 can't hold: the schedule would be another one."""
    if not math.isfinite(total):
        raise InputError(f"{name} must be finite in float64, but it is {total}.")


@dataclass(frozen=True, slots=True)
class Constant:
    """α(t) = α for t < `stop`, 0 afterwards; `stop=None` never stops.

    Parameters
    ----------
    alpha : float ≥ 0
    stop : float ≥ 0 or None
        Unit: flow time.

    Examples
    --------
    >>> float(Constant.from_total(2.0, stop=4.0).alpha(1.0))
    0.5
    """

    strength: float
    stop: float | None

    def __init__(self, alpha: float, stop: float | None = None) -> None:
        object.__setattr__(self, "strength", number("alpha", alpha, 0.0))
        stop = None if stop is None else number("stop", stop, 0.0)
        object.__setattr__(self, "stop", _duration("stop", stop) if stop else stop)
        _bounded("alpha·stop", self.strength * (LATEST if stop is None else stop))

    @classmethod
    def from_total(cls, total: float, stop: float) -> Constant:
        """The constant schedule with A_∞ = `total`, reached at `stop`."""
        total = number("total", total, 0.0)
        return cls(total / _duration("stop", stop), stop)

    def __repr__(self) -> str:
        return f"Constant(alpha={self.strength!r}, stop={self.stop!r})"

    @property
    def _end(self) -> float:
        return math.inf if self.stop is None else self.stop

    @property
    def total_infinity(self) -> float:
        return self.strength * self._end if self.strength > 0 else 0.0

    @property
    def alpha_infinity(self) -> float:
        return self.strength if self.stop is None else 0.0

    @property
    def breakpoints(self) -> tuple[float, ...]:
        return () if self.stop is None or self.stop == 0 else (self.stop,)

    def alpha(self, t):
        return self.strength * (np.asarray(t) < self._end)[()]

    def total(self, t):
        # without strength the end is no end: 0·inf must be 0
        return self.strength * np.minimum(t, self._end if self.strength > 0 else 0.0)

    def slope(self, t: float) -> float:
        return 0.0

    def remaining(self, t: float) -> float:
        if self.strength == 0:
            return 0.0
        return math.inf if self.stop is None else self.strength * max(self.stop - t, 0.0)


class _Formula:
    """A schedule of one formula for all times, which decays to 0."""

    __slots__ = ()
    alpha_infinity = 0.0
    breakpoints: tuple[float, ...] = ()

    def __repr__(self) -> str:
        alpha, (name, value) = ((f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}(alpha={alpha[1]!r}, {name}={value!r})"


class _Decaying(_Formula):
    """α·φ(t/τ): strength and timescale τ."""

    __slots__ = ()
    strength: float
    timescale: float

    def _set(self, alpha: float, timescale: float) -> None:
        object.__setattr__(self, "strength", number("alpha", alpha, 0.0))
        object.__setattr__(self, "timescale", _duration("timescale", timescale))
        # ln(1 + t/τ) < 512 at all flow times
        _bounded("alpha·timescale", 512.0 * self.strength * self.timescale)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Harmonic(_Decaying):
    """α(t) = α/(1 + t/τ), A(t) = ατ log(1 + t/τ) → ∞.

    Parameters
    ----------
    alpha : float ≥ 0
    timescale : float > 0
        τ, in flow time.

    Examples
    --------
    >>> schedule = Harmonic.from_total(2.0, timescale=1.0, by=100.0)
    >>> round(float(schedule.total(100.0)), 12), schedule.total_infinity
    (2.0, inf)
    """

    strength: float
    timescale: float

    def __init__(self, alpha: float, timescale: float) -> None:
        self._set(alpha, timescale)  # an __init__ of its own: Python names it where one is missing

    @classmethod
    def from_total(cls, total: float, timescale: float, by: float) -> Harmonic:
        """The harmonic schedule with A(`by`) = `total`; its A_∞ is inf."""
        total = number("total", total, 0.0)
        timescale, by = _duration("timescale", timescale), _duration("by", by)
        return cls(total / (timescale * math.log1p(by / timescale)), timescale)

    @property
    def total_infinity(self) -> float:
        return math.inf if self.strength > 0 else 0.0

    def alpha(self, t):
        return self.strength / (1.0 + np.asarray(t) / self.timescale)[()]

    def total(self, t):
        reached = np.asarray(t, float) if self.strength > 0 else np.zeros_like(t, float)
        # α last: ατ may underflow to 0, and 0·∞ is NaN
        return self.strength * (self.timescale * np.log1p(reached / self.timescale)[()])

    def slope(self, t: float) -> float:
        return -self.alpha(t) / (self.timescale + t)

    def remaining(self, t: float) -> float:
        return self.total_infinity


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Quadratic(_Decaying):
    """α(t) = α/(1 + t/τ)², A(t) = ατ·t/(τ + t) → ατ.

    Parameters
    ----------
    alpha : float ≥ 0
    timescale : float > 0
        τ, in flow time.

    Examples
    --------
    >>> schedule = Quadratic.from_total(2.0, timescale=10.0)
    >>> schedule.strength, float(schedule.total(10.0)), schedule.total_infinity
    (0.2, 1.0, 2.0)
    """

    strength: float
    timescale: float

    def __init__(self, alpha: float, timescale: float) -> None:
        self._set(alpha, timescale)

    @classmethod
    def from_total(cls, total: float, timescale: float) -> Quadratic:
        """The quadratic schedule with A_∞ = `total`."""
        timescale = _duration("timescale", timescale)
        return cls(number("total", total, 0.0) / timescale, timescale)

    @property
    def total_infinity(self) -> float:
        return self.strength * self.timescale

    def alpha(self, t):
        return self.strength * ((1.0 / (1.0 + np.asarray(t) / self.timescale)) ** 2)[()]

    def total(self, t):
        # 1/(1 + τ/t) rather than t/(τ + t): also right at t = inf
        with np.errstate(divide="ignore"):
            return self.total_infinity / (1.0 + self.timescale / np.asarray(t, float))[()]

    def slope(self, t: float) -> float:
        return -2.0 * self.alpha(t) / (self.timescale + t)

    def remaining(self, t: float) -> float:
        return self.total_infinity / (1.0 + t / self.timescale)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Geometric(_Formula):
    """α(t) = α·decayᵗ, A(t) = α(1 − decayᵗ)/log(1/decay).

    Parameters
    ----------
    alpha : float ≥ 0
    decay : float in (0, 1)
        Factor per unit of flow time.

    Examples
    --------
    >>> round(float(Geometric(1.0, decay=0.5).total_infinity), 6)  # 1/log 2
    1.442695
    """

    strength: float
    decay: float

    def __init__(self, alpha: float, decay: float) -> None:
        object.__setattr__(self, "strength", number("alpha", alpha, 0.0))
        decay = number("decay", decay, 0.0, open_low=True)
        if decay >= 1.0:
            raise InputError(f"decay must be below 1, but it is {decay!r}; use Constant instead.")
        object.__setattr__(self, "decay", decay)
        _bounded("alpha/log(1/decay)", self.total_infinity)

    @classmethod
    def from_total(cls, total: float, decay: float) -> Geometric:
        """The geometric schedule with A_∞ = `total`."""
        unit = cls(1.0, decay)
        return cls(number("total", total, 0.0) * unit._rate, decay)

    @property
    def _rate(self) -> float:
        return -math.log(self.decay)

    @property
    def total_infinity(self) -> float:
        return self.strength / self._rate

    def alpha(self, t):
        return self.strength * np.exp(-self._rate * np.asarray(t))[()]

    def total(self, t):
        return -self.total_infinity * np.expm1(-self._rate * np.asarray(t))[()]

    def slope(self, t: float) -> float:
        return -self._rate * self.strength * math.exp(-self._rate * t)

    def remaining(self, t: float) -> float:
        return self.total_infinity * math.exp(-self._rate * t)


@dataclass(frozen=True, slots=True, repr=False)
class Piecewise:
    """α(t) = alphas[i] on [times[i], times[i+1]), the last value forever.

    Parameters
    ----------
    times : (k,) floats, ascending, the first 0
        Unit: flow time.
    alphas : (k,) floats ≥ 0

    Examples
    --------
    >>> Piecewise([0.0, 1.0, 3.0], [0.0, 0.5, 0.0]).total_infinity
    1.0
    """

    times: tuple[float, ...]
    alphas: tuple[float, ...]

    def __init__(self, times: ArrayLike, alphas: ArrayLike) -> None:
        knots = ascending("times", times)
        if knots[0] != 0.0:
            raise InputError(f"times must start at 0, but times[0] is {knots[0]:g}.")
        values = vector("alphas", alphas, knots.size, "one for each entry of times")
        if values.min() < 0:
            raise InputError(f"alphas must be at least 0, but one is {values.min():g}.")
        object.__setattr__(self, "times", tuple(knots.tolist()))
        object.__setattr__(self, "alphas", tuple(values.tolist()))
        with np.errstate(over="ignore"):
            _bounded("the integral of alphas", self._totals[-1] + self.alphas[-1] * LATEST)

    def __repr__(self) -> str:
        if len(self.times) <= 6:
            return f"Piecewise({list(self.times)}, {list(self.alphas)})"
        return f"Piecewise({len(self.times)} pieces, total_infinity={self.total_infinity!r})"

    @classmethod
    def from_total(cls, total: float, times: ArrayLike, weights: ArrayLike) -> Piecewise:
        """Alphas proportional to `weights`, the last of them 0, scaled to A_∞ = `total`."""
        given = np.asarray(cls(times, weights).alphas)
        if given[-1] != 0.0 or not given.any():
            rule = "weights must end with 0 and hold a positive number"
            raise InputError(f"{rule}, but they are {brief(weights)}.")
        shape = cls(times, given / given.max())
        largest = number("total", total, 0.0) / shape.total_infinity
        return cls(times, number("the largest alpha", largest, 0.0) * np.asarray(shape.alphas))

    @property
    def total_infinity(self) -> float:
        return math.inf if self.alphas[-1] > 0 else float(self._totals[-1])

    @property
    def alpha_infinity(self) -> float:
        return self.alphas[-1]

    @property
    def breakpoints(self) -> tuple[float, ...]:
        return self.times[1:]

    @property
    def _totals(self) -> Array:
        """A at each entry of `times`."""
        areas = np.diff(self.times) * self.alphas[:-1]
        return np.concatenate([[0.0], np.cumsum(areas)])

    def _piece(self, t):
        return np.searchsorted(self.times, t, side="right") - 1

    def alpha(self, t):
        return np.asarray(self.alphas)[self._piece(t)]

    def total(self, t):
        i, alphas = self._piece(t), np.asarray(self.alphas)
        elapsed = np.where(alphas[i] > 0, t - np.asarray(self.times)[i], 0.0)  # 0·inf is 0 here
        return (self._totals[i] + alphas[i] * elapsed)[()]

    def slope(self, t: float) -> float:
        return 0.0

    def remaining(self, t: float) -> float:
        if self.alphas[-1] > 0.0:
            return math.inf
        ends = np.maximum(self.times, min(t, self.times[-1]))
        return float(np.sum(np.diff(ends) * self.alphas[:-1]))
