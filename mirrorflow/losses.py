"""Losses φ(z, y) of a prediction z and a target y: f(x) = (1/n) Σ φ((Zx)_i, y_i).

A new loss is one file with a kernel and a subclass of `Loss`; see docs/extending.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, number
from mirrorflow.compiled.options import Kernel, kernel

__all__ = ["Exponential", "Logistic", "Loss", "Poisson", "PseudoHuber", "Squared"]

SLOPE, CURVATURE, VALUE, ROWS = range(4)  # rows that a kernel fills


class Loss:
    """φ(z, y), convex in z.

    A subclass is a frozen dataclass with the members below; all else follows.

    Attributes
    ----------
    rows : Kernel
        Of `options.LOSS`: (z, y, parameter, out). Fills the rows of `out`, (2 or 3, n): ∂φ/∂z,
        ∂²φ/∂z², and where `out` has a third row φ.
    parameter : float
        What the kernel takes besides z and y, such as δ of pseudo-Huber.

    Examples
    --------
    >>> Squared().value([3.0], [1.0])
    array([2.])
    """

    __slots__ = ()
    rows: ClassVar[Kernel]

    @property
    def parameter(self) -> float:
        return 0.0

    def check(self, y: Array) -> None:
        """Refuse targets that the loss is not made for, by InputError."""

    def minimiser(self, y: Array) -> Array:
        """The z with ∂φ/∂z = 0; ±inf where φ falls without end."""
        raise NotImplementedError

    def steepness(self, largest: float) -> float:
        """Least φ′²/(2(φ − min φ)) over |z − y| ≤ `largest`.

        f obeys ‖∇f‖² ≥ λ(f − min f) there with λ = 2σ_min(Z)²/n times this.
        """
        raise InputError(
            "loss must be Squared() or PseudoHuber(δ) where a rate is to follow from φ′², but it "
            f"is {self!r}, of which none is known."
        )

    def value(self, z: ArrayLike, y: ArrayLike) -> Array:
        """φ(z, y) by entry."""
        return self._rows(z, y)[VALUE]

    def slope(self, z: ArrayLike, y: ArrayLike) -> Array:
        """∂φ/∂z by entry."""
        return self._rows(z, y)[SLOPE]

    def curvature(self, z: ArrayLike, y: ArrayLike) -> Array:
        """∂²φ/∂z² by entry."""
        return self._rows(z, y)[CURVATURE]

    def _rows(self, z: ArrayLike, y: ArrayLike) -> Array:
        z, y = np.broadcast_arrays(np.asarray(z, float), np.asarray(y, float))
        out = np.empty((ROWS, z.size))
        self.rows(z.flatten(), y.flatten(), self.parameter, out)
        return out.reshape(ROWS, *z.shape)


@kernel("LOSS")
def squared(z, y, parameter, out):
    """φ = ½(z − y)²."""
    for i in range(z.size):
        r = z[i] - y[i]
        out[SLOPE, i] = r
        out[CURVATURE, i] = 1.0
        if out.shape[0] > VALUE:
            out[VALUE, i] = 0.5 * r * r


@dataclass(frozen=True, slots=True)
class Squared(Loss):
    """φ = ½(z − y)², so that f = 1/(2n)‖Zx − y‖²: the loss of regression.

    Examples
    --------
    >>> Squared().slope([3.0], [1.0])
    array([2.])
    """

    rows: ClassVar[Kernel] = squared

    def minimiser(self, y: Array) -> Array:
        return y

    def steepness(self, largest: float) -> float:
        return 1.0

    # as the kernel, but without compiled code: what only reads data needs none
    def value(self, z: ArrayLike, y: ArrayLike) -> Array:
        return 0.5 * self.slope(z, y) ** 2

    def slope(self, z: ArrayLike, y: ArrayLike) -> Array:
        return np.subtract(z, y)

    def curvature(self, z: ArrayLike, y: ArrayLike) -> Array:
        return np.ones(np.broadcast_shapes(np.shape(z), np.shape(y)))


@kernel("LOSS")
def pseudo_huber(z, y, delta, out):
    """As `PseudoHuber`, without cancellation at small residuals or overflow at large ones."""
    for i in range(z.size):
        r = z[i] - y[i]
        size = math.hypot(delta, r)
        ratio, share = r / size, delta / size
        out[SLOPE, i] = delta * ratio
        out[CURVATURE, i] = share * share * share
        if out.shape[0] > VALUE:
            out[VALUE, i] = delta * r * (r / (size + delta))


@dataclass(frozen=True, slots=True)
class PseudoHuber(Loss):
    """φ = δ²(√(1 + (r/δ)²) − 1), r = z − y: quadratic within δ, linear beyond.

    Convex, but not strongly: outliers count by their size, not by its square.

    Parameters
    ----------
    delta : float > 0
        δ, in units of y.

    Examples
    --------
    >>> PseudoHuber(1.0).value([100.0], [0.0]).round(2)
    array([99.])
    """

    delta: float = 1.0
    rows: ClassVar[Kernel] = pseudo_huber

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", number("delta", self.delta, 0.0, open_low=True))

    @property
    def parameter(self) -> float:
        return self.delta

    def minimiser(self, y: Array) -> Array:
        return y

    def steepness(self, largest: float) -> float:
        root = float(np.hypot(1.0, largest / self.delta))
        return 0.5 * (root + 1.0) / root**2


@kernel("LOSS")
def logistic(z, y, parameter, out):
    """As `Logistic`; no exponential overflows."""
    for i in range(z.size):
        margin = y[i] * z[i]
        small = math.exp(-abs(margin))
        share = 1.0 / (1.0 + small)
        wrong = small * share if margin > 0.0 else share  # 1/(1 + e^margin)
        out[SLOPE, i] = -y[i] * wrong
        out[CURVATURE, i] = small * share * share
        if out.shape[0] > VALUE:
            out[VALUE, i] = max(-margin, 0.0) + math.log1p(small)


@kernel("LOSS")
def exponential(z, y, parameter, out):
    """As `Exponential`."""
    for i in range(z.size):
        value = np.exp(-y[i] * z[i])
        out[SLOPE, i] = -y[i] * value
        out[CURVATURE, i] = value
        if out.shape[0] > VALUE:
            out[VALUE, i] = value


class Margin(Loss):
    """φ of the margin yz, falling to 0 as yz → ∞: no minimum is attained."""

    __slots__ = ()

    def check(self, y: Array) -> None:
        wrong = np.abs(y) != 1.0
        if wrong.any():
            i = int(np.argmax(wrong))
            raise InputError(f"y must hold labels −1 and 1 for {self!r}, but y[{i}] = {y[i]:g}.")

    def minimiser(self, y: Array) -> Array:
        return np.copysign(np.inf, y)

    def log_slope(self, margin: Array) -> tuple[Array, Array]:
        """log(−φ′) by the margin yz, and how fast it falls with it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Logistic(Margin):
    """φ = log(1 + e^{−yz}) of labels y = ±1: minus the log-likelihood of logistic regression.

    Examples
    --------
    >>> Logistic().value([0.0], [1.0]).round(4)  # log 2
    array([0.6931])
    """

    rows: ClassVar[Kernel] = logistic

    def log_slope(self, margin: Array) -> tuple[Array, Array]:
        return -np.logaddexp(0.0, margin), np.exp(-np.logaddexp(0.0, -margin))


@dataclass(frozen=True, slots=True)
class Exponential(Margin):
    """φ = e^{−yz} of labels y = ±1, as in boosting.

    Examples
    --------
    >>> Exponential().value([0.0], [-1.0])
    array([1.])
    """

    rows: ClassVar[Kernel] = exponential

    def log_slope(self, margin: Array) -> tuple[Array, Array]:
        return -margin, np.ones_like(margin)


@kernel("LOSS")
def poisson(z, y, parameter, out):
    """As `Poisson`."""
    for i in range(z.size):
        rate = np.exp(z[i])  # math.exp of Python raises where this is inf
        out[SLOPE, i] = rate - y[i]
        out[CURVATURE, i] = rate
        if out.shape[0] > VALUE:
            out[VALUE, i] = rate - y[i] * z[i]


@dataclass(frozen=True, slots=True)
class Poisson(Loss):
    """φ = e^z − yz of counts y ≥ 0: minus the log-likelihood of counts of mean e^z, up to log y!.

    Counts need not be whole, so that rates and averages can be fitted as well.

    Examples
    --------
    >>> Poisson().slope([0.0], [3.0])
    array([-2.])
    """

    rows: ClassVar[Kernel] = poisson

    def check(self, y: Array) -> None:
        if (y < 0).any():
            i = int(np.argmax(y < 0))
            raise InputError(f"y must hold counts ≥ 0 for {self!r}, but y[{i}] = {y[i]:g}.")

    def minimiser(self, y: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(y)
