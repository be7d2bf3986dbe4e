r"""Signed powers: x = θ|θ|^{κ−1}, the "powerpropagation" of Schwarz et al. 2021.

Of degree κ, so that decay's laws are e^{−2κA} and e^{−2(κ−2)A}. With b = |θ₀|^{κ−2} sign θ₀:

    |θ| = |θ₀|·|1 + κ(2 − κ)bμ|^{1/(2−κ)},   X′ = κ²|θ|^{2κ−2},   Q = θ²/(2κ)

and |θ| = |θ₀|e^{2bμ} for κ = 2. For κ < 2 μ ranges over ℝ, and θ changes its sign with the bracket;
for κ ≥ 2 the sign is locked, and for κ > 2 the bracket bounds μ on one side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, number, real_array
from mirrorflow.compiled.options import Kernel, kernel
from mirrorflow.maps.base import DX, RATES, Mask, MirrorMap, Q, X
from mirrorflow.maps.sizes import check_sizes

__all__ = ["SignedPower"]

# rows of `parts`: θ₀; b; κ; the largest rate, as for κ < 2 κ²|θ|^{κ−2} has no bound at θ = 0
THETA, B, KAPPA, FASTEST = range(4)


@kernel("MAP")
def point(parts, low, high, total, mu, out):
    """By log(1 + …)/(2 − κ), which loses nothing near κ = 2."""
    kappa = parts[KAPPA, 0]
    gap, decay = 2.0 - kappa, math.exp(-2.0 * total)
    for j in range(low, high):
        start, rise = parts[THETA, j], kappa * parts[B, j] * mu[j]
        bracket = 1.0 + gap * rise
        if gap < 0.0 and not bracket > 0.0:  # beyond the end of the domain
            out[X, j], out[DX, j], out[RATES, j] = math.copysign(np.inf, start), np.inf, np.inf
            continue
        if gap == 0.0:
            exponent = rise
        else:
            # a negative bracket, beyond a zero of θ, is far from −1
            exponent = math.log1p(gap * rise) if bracket > 0.0 else math.log(max(-bracket, 1e-300))
            exponent /= gap
        size, sign = abs(start) * np.exp(exponent), math.copysign(bracket, start * bracket)
        power = size ** (kappa - 1.0)
        part = decay**kappa * power
        out[X, j] = math.copysign(part * size, sign)
        out[DX, j] = kappa * kappa * part * power
        out[RATES, j] = min(kappa * kappa * power / max(size, 1e-300), parts[FASTEST, j])
        if out.shape[0] > Q:
            out[Q, j] = decay**kappa * size * size / (2.0 * kappa)


@kernel("MAP")
def written(theta, low, high, degree, scratch, out):
    """θ|θ|^{κ−1} and its derivatives; the second is left out where it is infinite."""
    for j in range(low, high):
        size = abs(theta[0, j])
        power = size ** (degree - 1.0)
        out[0, j], out[1, j] = theta[0, j] * power, degree * power
        if out.shape[0] > 2:
            second = degree * (degree - 1.0) * power / size if size > 0.0 else 0.0
            out[2, j] = math.copysign(second, theta[0, j])


@dataclass(frozen=True, slots=True, eq=False, repr=False, init=False)
class SignedPower(MirrorMap):
    """θ, one layer of d coordinates: x = θ|θ|^{κ−1}, κ > 1.

    Parameters
    ----------
    theta : (d,) array
        Not 0, where g's gradient vanishes.
    kappa : float > 1
        κ, kept as `power`, since `kappa` of a map is the exponent 2(κ − 2) of its decay's weight.
        For κ < 2 a solution that reaches θ = 0 is not unique: the mirror flow passes through,
        `direct_flow` may end there.

    Notes
    -----
    For κ > 2 |θ| grows without end as μ nears its bound, and what is left of the bracket carries
    a relative error of eps·|θ/θ₀|^{κ−2}: so much is lost there, beside a few eps.

    Raises
    ------
    InputError
        If θ is not a vector without zeros, or κ ≤ 1.

    Examples
    --------
    >>> SignedPower([2.0, -1.0], kappa=3.0).x
    array([ 8., -1.])
    """

    values: Array
    power: float
    point: ClassVar[Kernel] = point
    written: ClassVar[Kernel] = written

    def __init__(self, theta: ArrayLike, kappa: float) -> None:
        power, values = number("kappa", kappa, 1.0, open_low=True), real_array("theta", theta, 1)
        if not values.all():
            i = int(np.argmin(np.abs(values)))
            raise InputError(
                f"theta must not be 0, where g's gradient vanishes and x could not move, but "
                f"theta[{i}] is."
            )
        check_sizes("theta", values, power)
        object.__setattr__(self, "power", power)
        object.__setattr__(self, "values", values)

    def _facts(self) -> dict[str, Any]:
        return {"d": self.d, "power": self.power, "largest_x": float(np.abs(self.x).max())}

    @property
    def degree(self) -> float:
        """κ, as |g| = |θ|^κ."""
        return self.power

    @property
    def theta(self) -> Array:
        """θ₀, (1, d)."""
        return self.values[None]

    def g(self, theta: Array) -> Array:
        """θ|θ|^{κ−1} of (…, 1, d)."""
        return theta[..., 0, :] * np.abs(theta[..., 0, :]) ** (self.power - 1.0)

    def shortest(self, x: Array) -> Array:
        """x|x|^{1/κ − 1}."""
        return (np.sign(x) * np.abs(x) ** (1.0 / self.power))[None]

    def through(self, theta: Array) -> SignedPower:
        """From another θ₀."""
        return SignedPower(theta[0], self.power)

    def parts(self) -> Array:
        """θ₀, b, κ and the largest rate, (4, d)."""
        size = np.abs(self.values)
        b = np.copysign(size ** (self.power - 2.0), self.values)
        # that of the largest θ₀
        fastest = self.power**2 * size.max() ** (self.power - 2.0) if self.power < 2.0 else math.inf
        return np.stack([self.values, b, *np.full((2, self.d), [[self.power], [fastest]])])

    def parameters(self, total: Array, mu: Array) -> Array:
        """θ, (T, 1, d), at μ (T, d) and A (T,): from Q = θ²/(2κ) and the sign of x."""
        rows = np.stack([self.at(some) for some in mu])
        theta = np.copysign(np.sqrt(2.0 * self.power * rows[:, Q]), rows[:, X])
        return (np.exp(-2.0 * total)[:, None] * theta)[:, None]

    @property
    def domain(self) -> tuple[Array, Array]:
        """∓∞, and for κ > 2 on θ₀'s side |θ₀|^{2−κ}/(κ(κ − 2))."""
        low, high = super(SignedPower, self).domain
        if self.power > 2.0:
            end = np.abs(self.values) ** (2.0 - self.power) / (self.power * (self.power - 2.0))
            low, high = np.where(self.values < 0, -end, low), np.where(self.values > 0, end, high)
        return low, high

    @property
    def signs(self) -> tuple[Mask, Mask]:
        """Both for κ < 2; else that of θ₀."""
        free = self.power < 2.0
        return (self.values > 0) | free, (self.values < 0) | free
