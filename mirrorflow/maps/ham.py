r"""HAM, hyperbolic-aware minimisation: x follows ẋ = −(1 + α|x|)∇f, the flow of x = θ + ¼αθ|θ|.

With ∇R(x) = sign(x) log(1 + α|x|)/α, α → 0 is gradient flow of x and α → ∞ leads to small L1 norms
(Jacobs, Gadhikar, Rubio-Madrigal & Burkholz 2026). In closed form, with μ₀ = ∇R(x₀) and v = μ₀ + μ:

    X = sign(v)(e^{α|v|} − 1)/α,    X′ = e^{α|v|} = 1 + α|X|,    Q = (e^{α|v|} − 1 − α|v|)/α²
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mirrorflow.checks import Array, number, real_array
from mirrorflow.compiled.options import Kernel, kernel
from mirrorflow.maps.base import MirrorMap

__all__ = ["Ham"]

CENTRE, ALPHA = range(2)  # rows of `parts`: μ₀; α
X, DX, RATES, Q = range(4)
LARGEST = 700.0  # exponent


@kernel("MAP")
def point(parts, low, high, total, mu, out):
    for j in range(low, high):
        alpha, at = parts[ALPHA, j], parts[CENTRE, j] + mu[j]
        length = min(alpha * abs(at), LARGEST)
        grown = math.expm1(length)
        out[X, j] = math.copysign(grown / alpha, at)
        out[DX, j] = 1.0 + grown
        out[RATES, j] = alpha
        if out.shape[0] > Q:
            if length < 1e-2:  # where the difference loses its digits
                grown = 1.0 + length / 4.0 * (1.0 + length / 5.0 * (1.0 + length / 6.0))
                out[Q, j] = 0.5 * at * at * (1.0 + length / 3.0 * grown)
            else:
                out[Q, j] = (grown - length) / (alpha * alpha)


@kernel("MAP")
def written(theta, low, high, alpha, scratch, out):
    """θ + ¼αθ|θ| and its derivatives; the second jumps at θ = 0."""
    for j in range(low, high):
        half = 0.5 * alpha * abs(theta[0, j])
        out[0, j], out[1, j] = theta[0, j] * (1.0 + 0.5 * half), 1.0 + half
        if out.shape[0] > 2:
            out[2, j] = math.copysign(0.5 * alpha, theta[0, j])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ham(MirrorMap):
    """The flow of HAM from x₀, with the strength α; without weight decay, which has no law here.

    Parameters
    ----------
    origin : (d,) array
        x₀.
    alpha : float > 0
        HAM's α, in units of 1/x (β, its shrinkage, is 0: see `ham_descent`).

    Examples
    --------
    >>> Ham([0.0, 1.0], 2.0).potential().gradient([0.5, -1.0]).round(6)  # 0 at x₀
    array([ 0.346574, -1.098612])
    """

    origin: Array
    alpha: float
    point: ClassVar[Kernel] = point
    written: ClassVar[Kernel] = written

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", real_array("origin", self.origin, 1))
        object.__setattr__(self, "alpha", number("alpha", self.alpha, 0.0, open_low=True))

    def _facts(self) -> dict[str, Any]:
        return {"d": self.d, "alpha": self.alpha, "largest_x": float(np.abs(self.x).max())}

    @property
    def parameter(self) -> float:
        """α."""
        return self.alpha

    @property
    def theta(self) -> Array:
        """θ₀ = sign(x₀)(2/α)(√(1 + α|x₀|) − 1), (1, d)."""
        return np.sign(self.origin)[None] * self._length(np.log1p(self.alpha * np.abs(self.origin)))

    @property
    def weights(self) -> tuple[Array, Array]:
        """1: R grows like |x| log|x|."""
        return np.ones(self.d), np.ones(self.d)

    def _length(self, exponent: Array) -> Array:
        return 2.0 / self.alpha * np.expm1(0.5 * exponent)

    def g(self, theta: Array) -> Array:
        """θ + ¼αθ|θ| of (…, 1, d)."""
        return theta[..., 0, :] * (1.0 + 0.25 * self.alpha * np.abs(theta[..., 0, :]))

    def through(self, theta: Array) -> Ham:
        """From another θ₀."""
        return Ham(self.g(theta), self.alpha)

    def parts(self) -> Array:
        """μ₀ and α, (2, d)."""
        centre = np.sign(self.origin) * np.log1p(self.alpha * np.abs(self.origin)) / self.alpha
        return np.stack([centre, np.full(self.d, self.alpha)])

    def parameters(self, total: Array, mu: Array) -> Array:
        """θ, (T, 1, d), at μ (T, d)."""
        at = mu + self.parts()[CENTRE]
        return (np.sign(at) * self._length(self.alpha * np.abs(at)))[:, None]
