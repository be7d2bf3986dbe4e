r"""Products of layers: x = w₁ ⊙ … ⊙ w_L, L = 2 … 6, from any start.

The flow keeps w_k² − w_l². With the factor of least modulus written as z, times the sign of the
others, and μ_k² = w_k² − z² for the others, each coordinate is

    x = zP(z),   P(z) = Π_{k<L} √(z² + μ_k²),   dz/dμ = P(z),   X′ = d(zP)/dz · P,   Q = z²/2

so F(z) = ∫₀^z dz/P = F(z₀) + μ, and x = ±∞ where the slack s = F(∞) − |F| ends (L ≥ 3; L = 2 is
m ⊙ w). Where other factors have the least modulus too, F(0) = −∞ and the sign is locked; the slack
∫_z^∞ dz/P serves alone. Three layers are computed by `elliptic`, more by `quadrature`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mirrorflow.checks import Array, InputError, real_array
from mirrorflow.compiled.options import Kernel, kernel
from mirrorflow.maps import elliptic, product, quadrature
from mirrorflow.maps.base import RATES, Mask, MirrorMap, Q, X
from mirrorflow.maps.quadrature import DEPTH, DOWNWARD, UPWARD
from mirrorflow.maps.sizes import check_sizes

__all__ = ["DeepFactors"]

TIE = 1e-12  # relative difference of equal moduli


@kernel("MAP")
def point(parts, low, high, total, mu, out):
    """x, X′, the rates and Q."""
    if parts[DEPTH, 0] == 3.0:
        elliptic.point_loop(parts, low, high, total, mu, out)
    elif parts[DEPTH, 0] > 3.0:
        quadrature.point_loop(parts, low, high, total, mu, out)
    else:
        product.point_loop(parts, low, high, total, mu, out)
        for j in range(low, high):
            out[RATES, j] = 2.0


@kernel("MAP")
def written(theta, low, high, degree, scratch, out):
    """Πθ_k and its derivatives, the products without one and without two layers."""
    layers = theta.shape[0]
    for row in range(out.shape[0]):
        # row 0: all; 1 … K: all but one; then all but k and l ≥ k
        k, l, at = row - 1, row - 1, row - 1 - layers
        if at >= 0:
            k = 0
            while at >= layers - k:
                at -= layers - k
                k += 1
            l = k + at
        filled = 0.0 if row > layers and k == l else 1.0
        for j in range(low, high):
            out[row, j] = filled
        for i in range(layers):
            if i not in (k, l):
                for j in range(low, high):
                    out[row, j] *= theta[i, j]


@dataclass(frozen=True, eq=False, repr=False)
class DeepFactors(MirrorMap):
    """Layers w₁ … w_L, (L, d), any real numbers, L = 2 … 6: x = w₁ ⊙ … ⊙ w_L.

    Where several factors of a coordinate have its least modulus (to a relative 1e-12), it keeps its
    sign forever; where two or more are 0, it stays 0.

    Parameters
    ----------
    layers : (L, d) array

    Notes
    -----
    For L ≥ 3 μ has a bounded domain. What is left of it is a difference, whose relative error is
    eps·t/slack with t the slack at μ = 0: so much is lost, beside a few eps, where a coordinate has
    grown from a small start. Where some μ_k is far below the others, by a factor e^k, errors are k
    times eps.

    Raises
    ------
    InputError
        If layers is not an array of 2 to 6 finite rows.

    Examples
    --------
    >>> DeepFactors([[1.0, 2.0], [0.5, -1.0], [0.0, 1.0]]).x
    array([ 0., -2.])
    """

    layers: Array
    point: ClassVar[Kernel] = point
    written: ClassVar[Kernel] = written

    def __post_init__(self) -> None:
        layers = real_array("layers", self.layers, 2)
        if not 2 <= len(layers) <= 6:
            raise InputError(f"layers must have 2 to 6 rows, but its shape is {layers.shape}.")
        check_sizes("layers", layers, len(layers))
        object.__setattr__(self, "layers", layers)

    @property
    def degree(self) -> float:
        """L."""
        return float(len(self.layers))

    @property
    def theta(self) -> Array:
        """The layers, (L, d)."""
        return self.layers

    def g(self, theta: Array) -> Array:
        """The product of the layers, of (…, L, d)."""
        return np.prod(theta, axis=-2)

    def shortest(self, x: Array) -> Array:
        """|x|^{1/L} in every layer; where x has not the sign of x₀, the least factor turns."""
        theta = np.copysign(np.abs(x) ** (1.0 / self.degree), self.layers)
        least = np.arange(len(theta))[:, None] == np.argmin(np.abs(self.layers), axis=0)
        return np.where(least & (self.g(theta) * x < 0.0), -theta, theta)

    def through(self, theta: Array) -> DeepFactors:
        """From other layers."""
        return DeepFactors(theta)

    def invariants(self, theta: Array) -> tuple[Array, Array]:
        """w_k² − w_{k+1}², to within Σw²."""
        upper, lower = theta[..., :-1, :], theta[..., 1:, :]
        values = (upper - lower) * (upper + lower)
        return values, np.broadcast_to(np.sum(theta**2, axis=-2, keepdims=True), values.shape)

    def parts(self) -> Array:
        """Of `product` and L, of `elliptic` or of `quadrature`; (…, d)."""
        return self._parts

    @functools.cached_property
    def _parts(self) -> Array:
        depth = np.full(self.d, self.degree)
        if len(self.layers) == 2:
            return np.vstack([product.Factors(*self.layers).parts(), depth])
        tabulate = elliptic.tabulate if len(self.layers) == 3 else quadrature.tabulate
        return tabulate(*self._invariants())

    def _invariants(self) -> tuple[Array, Array]:
        """z₀, and μ_k² of the others in ascending order, (L − 1, d); 0 where moduli tie."""
        sizes = np.sort(np.abs(self.layers), axis=0)
        least, others = sizes[0], sizes[1:]
        gaps = others - least
        squares = np.where(gaps <= TIE * least, 0.0, gaps * (others + least))
        return np.copysign(least, self.x), squares

    def parameters(self, total: Array, mu: Array) -> Array:
        """The layers, (T, L, d), at μ (T, d) and A (T,): |w_k| = √(z² + μ_k²), z² = 2Q."""
        if len(self.layers) == 2:
            return product.Factors(*self.layers).parameters(total, mu)
        rows = np.stack([self.at(some) for some in mu])
        sizes = np.abs(self.layers)
        least = np.argmin(sizes, axis=0)[None]
        smallest = np.take_along_axis(sizes, least, 0)
        gaps = np.where(sizes - smallest <= TIE * smallest, 0.0, sizes - smallest)
        theta = np.copysign(
            np.sqrt(2.0 * rows[:, Q : Q + 1] + gaps * (sizes + smallest)), self.layers
        )
        # the others keep their signs, so the least factor's sign is what makes x's
        wrong = np.signbit(self.g(theta)) != np.signbit(rows[:, X])
        is_least = np.arange(len(sizes))[:, None] == least
        theta = np.where(is_least & wrong[:, None], -theta, theta)
        return np.exp(-2.0 * total)[:, None, None] * theta

    @property
    def domain(self) -> tuple[Array, Array]:
        """The slack to either side at μ = 0."""
        if len(self.layers) == 2:
            return super().domain
        return -self._parts[DOWNWARD], self._parts[UPWARD]

    @property
    def signs(self) -> tuple[Mask, Mask]:
        """Both, but that of x₀ where moduli tie, and none where two factors are 0."""
        z, squares = self._invariants()
        free = squares[0] > 0
        return free | (z > 0), free | (z < 0)
