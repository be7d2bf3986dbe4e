r"""The time-dependent Bregman potential of m ⊙ w, in logarithms.

Every coordinate splits as x = p − q with p, q ≥ 0 and pq constant. With the reference masses
p̄ = ½u₀²e^{−4A} and q̄ = ½v₀²e^{−4A} the potential is, up to a constant,
2R(x) = KL(p‖p̄) + KL(q‖q̄); all else follows from log p̄ and log q̄, which never underflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import kl_div

from mirrorflow.checks import Array, InputError, number, vector
from mirrorflow.display import Displayed

if TYPE_CHECKING:
    from mirrorflow.maps.product import Factors

__all__ = ["HyperbolicEntropy", "signed_mass"]

LOG2 = float(np.log(2.0))


def _log(values: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(values)


def _kl(mass: Array, other: Array, log_ratio: Array) -> Array:
    """mass·log(mass/other) − mass + other by coordinate, given that logarithm."""
    with np.errstate(invalid="ignore"):
        far = np.where(mass > 0, mass * log_ratio, 0.0) - mass + other
    return np.where(np.abs(log_ratio) > 1.0, far, kl_div(mass, other))


def signed_mass(p: Array, q: Array, half_log: Array) -> Array:
    """p − q without cancellation, given half_log = ½ log(p/q) = h: ±max(p, q)·(1 − e^{−2|h|})."""
    return np.copysign(np.maximum(p, q) * -np.expm1(-2.0 * np.abs(half_log)), half_log)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HyperbolicEntropy(Displayed):
    r"""R_a(x) = ½ Σ [x arcsinh(x/a) − √(x² + a²) − xc], Theorem 2.1 (ICLR) / 3.1 (arXiv v1).

    Parameters
    ----------
    log_p, log_q : (d,) arrays, −inf allowed
        log p̄ and log q̄; log a = log 2 + ½(log p̄ + log q̄).
    c : (d,) array
        log|u₀/v₀| = ½(log p̄ − log q̄), kept besides because that difference would lose the
        digits that matter where a is large: ±inf where balanced, 0 where m = w = 0.
        With log q̄ = −inf (a balanced coordinate, v₀ = 0) R = ½[x log(x/p̄) − x] on x ≥ 0;
        with log p̄ = −inf its mirror image on x ≤ 0; with both only x = 0 is in the domain.

    Notes
    -----
    Values are +inf outside the domain. Gradients at its boundary are ∓inf.

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> R = HyperbolicEntropy.of(Factors.pilot([0.0], beta=2.0))
    >>> float(R.gradient(R.inverse_gradient([0.75]))[0])
    0.75
    """

    log_p: Array
    log_q: Array
    c: Array

    def _facts(self) -> dict[str, Any]:
        low, high = self.log_a.min(), self.log_a.max()
        return {"d": self.c.size, "log_a_min": float(low), "log_a_max": float(high)}

    @classmethod
    def of(cls, factors: Factors, total: float = 0.0) -> HyperbolicEntropy:
        """The potential after total A: a = ½|m₀² − w₀²| e^{−4A}, c = log|u₀/v₀|."""
        total = number("total", total, 0.0)
        log_u, log_v, shift = _log(np.abs(factors.u)), _log(np.abs(factors.v)), LOG2 + 4.0 * total
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            larger, smaller = factors.m, factors.w
            swapped = np.abs(smaller) > np.abs(larger)
            ratio = np.where(swapped, larger / smaller, smaller / larger)
            # log|(m + w)/(m − w)| = 2 artanh(w/m) = 2 artanh(m/w): exact where c is small
            c = np.where(np.abs(ratio) < 0.5, 2.0 * np.arctanh(ratio), log_u - log_v)
        zero = (factors.m == 0) & (factors.w == 0)
        return cls(2.0 * log_u - shift, 2.0 * log_v - shift, np.where(zero, 0.0, c))

    def effective(self, gain: Array, shift: Array) -> HyperbolicEntropy:
        """R_a + ⟨r, x⟩ with a = a₀e^{−Λ}, for a gain Λ and a shift r, (d,) each.

        log p̄ − Λ − 2r, log q̄ − Λ + 2r and c − 2r: where discrete steps end (`discrete_limit`).
        """
        twice = 2.0 * shift
        return HyperbolicEntropy(
            self.log_p - gain - twice, self.log_q - gain + twice, self.c - twice
        )

    @property
    def log_a(self) -> Array:
        """log of the scale a, shape (d,); −inf where the coordinate is balanced or zero."""
        return LOG2 + 0.5 * (self.log_p + self.log_q)

    @property
    def domain(self) -> tuple[Array, Array]:
        """Lower and upper end of each coordinate's domain: 0 or ∓inf, shape (d,) each."""
        lower = np.where(np.isneginf(self.log_q), 0.0, -np.inf)
        upper = np.where(np.isneginf(self.log_p), 0.0, np.inf)
        return lower, upper

    @property
    def minimizer(self) -> Array:
        """argmin R = p̄ − q̄ = e^{−4A} m₀ ⊙ w₀, the positional bias, shape (d,)."""
        return self.inverse_gradient(np.zeros_like(self.log_p))

    def split(self, theta: Array) -> tuple[Array, Array]:
        """p and q at the dual point θ = ∇R(x): p = p̄e^{2θ}, q = q̄e^{−2θ}."""
        return np.exp(self.log_p + 2.0 * theta), np.exp(self.log_q - 2.0 * theta)

    def parts(self) -> Array:
        """log p̄, log q̄ and c, (3, d): what compiled code knows of the potential."""
        return np.stack([self.log_p, self.log_q, self.c])

    def metric(self, theta: Array) -> Array:
        """1/R″ = 2(p + q) at ∇R(x) = θ, shape (d,)."""
        return 2.0 * np.add(*self.split(theta))

    @property
    def floor(self) -> Array:
        """Least 1/R″ over x: 2a, (d,)."""
        return 2.0 * np.exp(self.log_a)

    def value(self, x: Array) -> float:
        """R(x); +inf outside the domain."""
        x = self._point(x)
        lower, upper = self.domain
        if (x < lower).any() or (x > upper).any():
            return float("inf")
        return float(np.sum(self.terms(x, self.gradient(x))))

    def terms(self, x: Array, gradient: Array) -> Array:
        """R by coordinate, (d,), given ∇R(x)."""
        # −½(p + q) carries the −½√(x² + a²); no product where ∇R = ∓∞ at x = 0
        linear = np.where(x == 0, 0.0, x * np.where(x == 0, 0.0, gradient))
        return linear - 0.5 * np.hypot(x, np.exp(self.log_a))

    def conjugate(self, theta: Array) -> Array:
        """R* by coordinate, ½(p + q) at ∇R(x) = θ; (d,)."""
        return 0.5 * np.add(*self.split(theta))

    def restricted(
        self, positive: NDArray[np.bool_], negative: NDArray[np.bool_]
    ) -> HyperbolicEntropy:
        """Only the positive, or negative, parts of some coordinates, (d,) bool each."""
        log_p, log_q = (
            np.where(positive, self.log_p, -np.inf),
            np.where(negative, self.log_q, -np.inf),
        )
        sides = [np.isfinite(log_p) & np.isfinite(log_q), np.isfinite(log_p), np.isfinite(log_q)]
        return HyperbolicEntropy(log_p, log_q, np.select(sides, [self.c, np.inf, -np.inf], 0.0))

    def gradient(self, x: Array) -> Array:
        """∇R(x) = ½(arcsinh(x/a) − c), shape (d,)."""
        x = self._point(x)
        two_sided = np.isfinite(self.log_p) & np.isfinite(self.log_q)
        log_x = _log(np.abs(x))
        result = np.empty_like(x)
        on = two_sided
        ratio = log_x[on] - self.log_a[on]
        # arcsinh(r) = log r + log(1 + √(1 + r⁻²)) where r overflows or a underflows
        small = np.arcsinh(np.exp(np.minimum(ratio, 0.0)))
        large = ratio + np.log1p(np.sqrt(1.0 + np.exp(-2.0 * np.maximum(ratio, 0.0))))
        arcsinh = np.copysign(np.where(ratio <= 0.0, small, large), x[on])
        result[on] = 0.5 * (arcsinh - self.c[on])
        on = ~two_sided & np.isfinite(self.log_p)
        result[on] = np.where(x[on] < 0, np.nan, 0.5 * (log_x[on] - self.log_p[on]))
        on = ~two_sided & np.isfinite(self.log_q)
        result[on] = np.where(x[on] > 0, np.nan, -0.5 * (log_x[on] - self.log_q[on]))
        on = np.isneginf(self.log_p) & np.isneginf(self.log_q)
        result[on] = np.where(x[on] == 0, 0.0, np.nan)
        if np.isnan(result).any():
            i = int(np.argmax(np.isnan(result)))
            raise InputError(f"x must lie in the domain of R, but x[{i}] = {x[i]:g} does not.")
        return result

    def inverse_gradient(self, theta: Array) -> Array:
        """The x with ∇R(x) = θ: p̄e^{2θ} − q̄e^{−2θ} = a sinh(2θ + c), shape (d,)."""
        theta = vector("theta", theta, self.log_p.size, "one for each coordinate")
        return signed_mass(*self.split(theta), self.c + 2.0 * theta)

    def hessian_diagonal(self, x: Array) -> Array:
        """Diagonal of ∇²R(x): 1/(2√(x² + a²)), shape (d,)."""
        with np.errstate(divide="ignore", over="ignore"):
            return 0.5 / np.hypot(self._point(x), np.exp(self.log_a))

    def divergence(self, x: Array, y: Array) -> float:
        """Bregman divergence D_R(x, y) = R(x) − R(y) − ⟨∇R(y), x − y⟩ ≥ 0.

        Computed as ½[KL(p_x‖p_y) + KL(q_x‖q_y)], a sum of non-negative terms; inf where x or y
        lies outside the domain.
        """
        x, y = self._point(x), self._point(y)
        lower, upper = self.domain
        if ((x < lower) | (x > upper) | (y < lower) | (y > upper)).any():
            return float("inf")
        p_x, q_x = self._masses(x)
        p_y, q_y = self._masses(y)
        # log(p_x/p_y) = −log(q_x/q_y), from the gradients: masses underflow long before it does
        with np.errstate(invalid="ignore"):
            ratio = np.where(x == y, 0.0, 2.0 * (self.gradient(x) - self.gradient(y)))
        return float(0.5 * np.sum(_kl(p_x, p_y, ratio) + _kl(q_x, q_y, -ratio)))

    def _masses(self, x: Array) -> tuple[Array, Array]:
        """The p, q ≥ 0 with p − q = x and pq = a²/4, the smaller of the two by division."""
        larger = 0.5 * (np.hypot(x, np.exp(self.log_a)) + np.abs(x))
        with np.errstate(divide="ignore", invalid="ignore"):
            smaller = np.exp(2.0 * (self.log_a - LOG2) - np.log(larger))
        smaller = np.where(larger > 0, smaller, 0.0)
        return np.where(x >= 0, larger, smaller), np.where(x >= 0, smaller, larger)

    def _point(self, x: Array) -> Array:
        return vector("x", x, self.log_p.size, "one for each coordinate")
