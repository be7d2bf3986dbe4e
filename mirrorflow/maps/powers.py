r"""Differences of powers: x = u^L − v^L, whose potentials interpolate between L1 and L2.

With K = L(L − 2), r = u₀^{2−L} − Kμ and s = v₀^{2−L} + Kμ (Woodworth et al. 2020, Theorem 3):

    u = r^{−1/(L−2)},   v = s^{−1/(L−2)},   X = u^L − v^L,   X′ = L²(u^{2L−2} + v^{2L−2})
    Q = (u² + v²)/(2L),   −v₀^{2−L}/K < μ < u₀^{2−L}/K

and for L = 2 u = u₀e^{2μ}, v = v₀e^{−2μ}: m ⊙ w with m = u + v, w = u − v, run twice as fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mirrorflow.checks import Array, real_array, vector, whole
from mirrorflow.compiled.options import Kernel, kernel, loop
from mirrorflow.maps import product
from mirrorflow.maps.base import DX, RATES, MirrorMap, Q, X
from mirrorflow.maps.sizes import check_sizes

__all__ = ["Powers"]

R, S, GAP, DEPTH, ROWS = range(5)  # rows of `parts`: r, s and s − r at μ = 0, L


@loop
def _twice_as_fast(parts, low, high, total, mu, out):
    """L = 2, by m ⊙ w at 2μ."""
    for j in range(low, high):
        out[RATES, j] = 2.0 * mu[j]
    product.point_loop(parts, low, high, total, out[RATES], out)
    for j in range(low, high):
        out[DX, j] *= 2.0
        out[RATES, j] = 4.0
        if out.shape[0] > Q:
            out[Q, j] *= 0.5


@loop
def _root(r, depth):
    """r^{−1/(L−2)}."""
    if depth == 3:
        return 1.0 / r
    if depth == 4:
        return 1.0 / math.sqrt(r)
    return r ** (-1.0 / (depth - 2))


@kernel("MAP")
def point(parts, low, high, total, mu, out):
    """u^L − v^L = (sign) max(u, v)^L (1 − q^L), q = min/max: no digits are lost where u ≈ v."""
    depth = int(parts[DEPTH, 0])
    if depth == 2:
        _twice_as_fast(parts, low, high, total, mu, out)
        return
    K, decay = depth * (depth - 2.0), math.exp(-2.0 * total)
    for j in range(low, high):
        r, s = parts[R, j] - K * mu[j], parts[S, j] + K * mu[j]
        least, most = min(r, s), max(r, s)
        if not least > 0.0:  # beyond an end of the domain
            out[X, j], out[DX, j], out[RATES, j] = math.copysign(np.inf, s - r), np.inf, np.inf
            continue
        large = _root(least, depth)
        ratio = _root(most, depth) / large
        # 1 − q^L = (1 − q^{L−2})(1 + q + … + q^{L−1})/(1 + q + … + q^{L−3}), q^{L−2} = least/most
        below, power = 0.0, 1.0
        for _ in range(depth - 2):
            below += power
            power *= ratio
        above = below + power + power * ratio
        part, rate = (decay * large) ** depth, depth * depth * large ** (depth - 2)
        out[X, j] = part * ((parts[GAP, j] + 2.0 * K * mu[j]) / most) * (above / below)
        out[DX, j] = part * rate * (1.0 + ratio ** (2 * depth - 2))
        out[RATES, j] = rate
        if out.shape[0] > Q:
            out[Q, j] = decay**depth * large * large * (1.0 + ratio * ratio) / (2.0 * depth)


@kernel("MAP")
def written(theta, low, high, degree, scratch, out):
    """u^L − v^L, its gradient (Lu^{L−1}, −Lv^{L−1}), and the diagonal of its Hessian."""
    depth = int(degree)
    for j in range(low, high):
        u, v = theta[0, j], theta[1, j]
        by_u, by_v = u ** (depth - 2), v ** (depth - 2)
        out[0, j] = by_u * u * u - by_v * v * v
        out[1, j], out[2, j] = depth * by_u * u, -depth * by_v * v
        if out.shape[0] > 3:
            second = depth * (depth - 1.0)
            out[3, j], out[4, j], out[5, j] = second * by_u, 0.0, -second * by_v


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Powers(MirrorMap):
    """u and v, both (d,) and positive: x = u^L − v^L.

    Parameters
    ----------
    u, v : (d,) arrays, > 0
        Where u = 0 or v = 0, on the edge, x can't move to that side (or, L ≥ 3, not at all).
    depth : int ≥ 2
        L.

    Notes
    -----
    For L ≥ 3 μ has a bounded domain, at whose ends x = ±∞. What is left of it, r or s above, is a
    difference, whose relative error is eps·u₀^{2−L}/r = eps·(u/u₀)^{L−2}: so much is lost, beside
    a few eps, where a coordinate has grown from a small start.

    Raises
    ------
    InputError
        If u and v are not positive vectors of one length, or depth is below 2.

    Examples
    --------
    >>> Powers([1.0, 0.5], [0.5, 0.5], depth=3).x
    array([0.875, 0.   ])
    """

    u: Array
    v: Array
    depth: int
    point: ClassVar[Kernel] = point
    written: ClassVar[Kernel] = written

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", whole("depth", self.depth, 2))
        u = real_array("u", self.u, 1)
        v = vector("v", self.v, u.size, "as many as u")
        for name, values in (("u", u), ("v", v)):
            check_sizes(name, values, self.depth, zero=False)
            object.__setattr__(self, name, values)

    def _facts(self) -> dict[str, Any]:
        return {"d": self.d, "depth": self.depth, "largest_x": float(np.abs(self.x).max())}

    @property
    def degree(self) -> float:
        """L."""
        return float(self.depth)

    @property
    def theta(self) -> Array:
        """u and v, (2, d)."""
        return np.stack([self.u, self.v])

    def g(self, theta: Array) -> Array:
        """u^L − v^L of (…, 2, d)."""
        return theta[..., 0, :] ** self.depth - theta[..., 1, :] ** self.depth

    def shortest(self, x: Array) -> Array:
        """(x⁺)^{1/L} and (x⁻)^{1/L}."""
        return np.maximum([x, -x], 0.0) ** (1.0 / self.depth)

    def through(self, theta: Array) -> Powers:
        """From other u and v."""
        return Powers(theta[0], theta[1], self.depth)

    def invariants(self, theta: Array) -> tuple[Array, Array]:
        """u^{2−L} + v^{2−L}, to within (L − 2)|θ|(u^{1−L} + v^{1−L}); for L = 2 uv, within |θ|²."""
        size, n = np.sqrt(np.sum(theta**2, axis=-2, keepdims=True)), self.depth - 2
        if n == 0:
            return np.prod(theta, axis=-2, keepdims=True), size**2
        powers = np.abs(theta) ** -n
        changes = n * size * np.sum(powers / np.abs(theta), axis=-2, keepdims=True)
        return np.sum(powers, axis=-2, keepdims=True), changes

    def parts(self) -> Array:
        """r, s, s − r and L for L ≥ 3; log p̄, log q̄, c and L for L = 2; (4, d)."""
        depth = np.full(self.d, float(self.depth))
        if self.depth == 2:
            return np.vstack([self._factors().parts(), depth])
        u, v, n = self.u, self.v, self.depth - 2
        gap = (u - v) * sum(u**k * v ** (n - 1 - k) for k in range(n)) / (u * v) ** n
        return np.stack([u**-n, v**-n, gap, depth])

    def parameters(self, total: Array, mu: Array) -> Array:
        """u and v, (T, 2, d), at μ (T, d) and A (T,)."""
        decay, n = np.exp(-2.0 * total)[:, None, None], self.depth - 2
        signed = np.stack([-mu, mu], axis=1)
        if n == 0:
            return decay * self.theta * np.exp(-2.0 * signed)
        K = self.depth * n
        return decay * (self.theta**-n + K * signed) ** (-1.0 / n)

    @property
    def domain(self) -> tuple[Array, Array]:
        """−v₀^{2−L}/K and u₀^{2−L}/K."""
        if self.depth == 2:
            return super(Powers, self).domain
        K = self.depth * (self.depth - 2)
        return -(self.v ** (2 - self.depth)) / K, self.u ** (2 - self.depth) / K

    def _factors(self) -> product.Factors:
        return product.Factors(self.u + self.v, self.u - self.v)
