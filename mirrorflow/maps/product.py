r"""m ⊙ w: x = m ⊙ w and its mirror map, x = p̄e^{2μ} − q̄e^{−2μ} = a sinh(2μ + c)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, number, real_array, vector
from mirrorflow.compiled.options import Kernel, kernel, loop
from mirrorflow.compiled.vectors import exponential_minus_1
from mirrorflow.maps.base import DX, Mask, MirrorMap, Q, X
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.runs.untrusted import naming, read_arrays

__all__ = ["Factors"]

LOG_P, LOG_Q, C = range(3)  # rows of `parts`
CANCELS = 1e3  # parts so much larger than a factor lose its digits


@loop
def point_loop(parts, low, high, total, mu, out):
    """x, X′ and, where `out` has a row for it, Q at μ after total A."""
    x, dx, decay = out[X], out[DX], 4.0 * total
    for j in range(low, high):
        twice = 2.0 * mu[j]
        larger = exponential_minus_1(max(parts[LOG_P, j] + twice, parts[LOG_Q, j] - twice) - decay)
        # max(p, q)·(1 − e^{−2|c + 2μ|}) with its sign: no digits are lost where p ≈ q
        shifted = parts[C, j] + twice
        fall = exponential_minus_1(-2.0 * abs(shifted))[0]
        x[j] = math.copysign(-larger[1] * fall, shifted)
        dx[j] = 2.0 * larger[1] * (2.0 + fall)
    if out.shape[0] > Q:
        for j in range(low, high):
            out[Q, j] = 0.25 * dx[j]


@kernel("MAP")
def point(parts, low, high, total, mu, out):
    """`point_loop` to be called by address."""
    point_loop(parts, low, high, total, mu, out)


@loop
def written_loop(theta, out):
    """g = m w, its gradient (w, m), and where `out` has rows for them its second derivatives."""
    x, by_m, by_w, m, w = out[0], out[1], out[2], theta[0], theta[1]
    for j in range(x.size):
        x[j] = m[j] * w[j]
        by_m[j] = w[j]
        by_w[j] = m[j]
    if out.shape[0] > 3:
        for j in range(x.size):
            out[3, j] = 0.0
            out[4, j] = 1.0
            out[5, j] = 0.0


@kernel("MAP")
def written(theta, low, high, total, mu, out):
    """`written_loop` to be called by address."""
    written_loop(theta, out)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Factors(MirrorMap):
    """Mask m and weight w, both (d,), any real numbers: x = m ⊙ w.

    Signs are free (m < 0, |w| > |m|), balanced coordinates |m_i| = |w_i| ≠ 0 keep the sign of
    x_i forever, m_i = w_i = 0 stays 0.

    Parameters
    ----------
    m, w : (d,) arrays

    Raises
    ------
    InputError
        If an entry is no finite number, or the sizes differ.

    Examples
    --------
    >>> Factors.pilot([0.0, 2.0], beta=3.0).x
    array([0., 2.])
    """

    m: Array
    w: Array
    rate: ClassVar[float] = 2.0
    point: ClassVar[Kernel] = point
    written: ClassVar[Kernel] = written

    def __post_init__(self) -> None:
        m = real_array("m", self.m, 1)
        object.__setattr__(self, "m", m)
        object.__setattr__(self, "w", vector("w", self.w, m.size, "as many as m"))

    def _facts(self) -> dict[str, Any]:
        balanced = int(np.sum(np.abs(self.m) == np.abs(self.w)))
        with np.errstate(over="ignore"):
            return {"d": self.d, "balanced": balanced, "largest_x": float(np.abs(self.x).max())}

    @classmethod
    def pilot(cls, x: ArrayLike, beta: float = 1.0) -> Factors:
        """PILoT's initialisation: m ⊙ w = x and m² − w² = β > 0 (Algorithm 1).

        m = √((β + √(β² + 4x²))/2), w = x/m; so a₀ = β/2 in every coordinate.

        Raises
        ------
        InputError
            If β is not positive or x is not a finite vector.
        """
        x = real_array("x", x, 1)
        beta = number("beta", beta, 0.0, open_low=True)
        m = np.sqrt(0.5 * beta + np.hypot(0.5 * beta, x))
        return cls(m, x / m)

    @classmethod
    def balanced(cls, x: ArrayLike) -> Factors:
        """The balanced ("spred") initialisation: m = √|x|, w = sign(x) m, so |m| = |w|."""
        x = real_array("x", x, 1)
        m = np.sqrt(np.abs(x))
        return cls(m, np.copysign(m, x))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Factors | None:
        """Read m0 and w0 from an NPZ file; None where it holds neither, or for a CSV.

        Raises
        ------
        InputError
            If only one of the two is there, or they don't fit each other.
        """
        if Path(path).suffix.lower() == ".csv":
            return None
        arrays = read_arrays(path, optional=("m0", "w0"))
        if not arrays:
            return None
        if len(arrays) == 1:
            raise InputError(f"m0 and w0 come together, but {path} holds only {min(arrays)}.")
        with naming(path):
            return cls(arrays["m0"], arrays["w0"])

    @property
    def degree(self) -> float:
        """2."""
        return 2.0

    @property
    def theta(self) -> Array:
        """m and w, (2, d)."""
        return np.stack([self.m, self.w])

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return self.m.size

    @property
    def x(self) -> Array:
        """m ⊙ w, shape (d,)."""
        return self.m * self.w

    def g(self, theta: Array) -> Array:
        """m ⊙ w of (…, 2, d)."""
        return theta[..., 0, :] * theta[..., 1, :]

    def through(self, theta: Array) -> Factors:
        """From other m and w."""
        return Factors(*theta)

    def separated(self, theta: Array) -> Array:
        """m + w and m − w, which carry positive and negative x."""
        m, w = theta[..., 0, :], theta[..., 1, :]
        return np.stack([m + w, m - w], axis=-2)

    def invariants(self, theta: Array) -> tuple[Array, Array]:
        """m² − w², to within m² + w²."""
        m, w = theta[..., :1, :], theta[..., 1:, :]
        return (m - w) * (m + w), m * m + w * w

    @property
    def signs(self) -> tuple[Mask, Mask]:
        """Balanced coordinates, |m| = |w|, keep their sign."""
        return self.u != 0, self.v != 0

    def potential(self, total: float = 0.0) -> HyperbolicEntropy:
        """R_a after total A."""
        return HyperbolicEntropy.of(self, total)

    def parts(self) -> Array:
        """Logarithms of p̄ and q̄ at A = 0, and c; (3, d)."""
        return self.potential().parts()

    @property
    def u(self) -> Array:
        """(m + w)/√2, shape (d,): the factor that carries positive x."""
        return (self.m + self.w) / np.sqrt(2.0)

    @property
    def v(self) -> Array:
        """(m − w)/√2, shape (d,): the factor that carries negative x."""
        return (self.m - self.w) / np.sqrt(2.0)

    @property
    def imbalance(self) -> Array:
        """m² − w², shape (d,); the flow multiplies it by e^{−4A}."""
        return (self.m - self.w) * (self.m + self.w)

    def parameters(self, total: Array, mu: Array) -> Array:
        """m and w, (T, 2, d), at μ (T, d) and A (T,).

        m, w = (u ± v)/√2 with u = u₀e^{−2A + μ}, v = v₀e^{−2A − μ}. Where one of m and w is a small
        difference of u and v, it is e^{−2A}(m₀ cosh μ + w₀ sinh μ), or with m₀ and w₀ exchanged.
        """
        decay = np.exp(-2.0 * total)[:, None]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if np.abs(mu).max(initial=0.0) < 300.0:
                rise, decay_u = np.exp(mu), np.sqrt(0.5) * decay
                u, v = decay_u * self.u * rise, decay_u * self.v / rise
            else:  # u₀ and e^μ may be beyond the range of floats where their product is not
                potential = HyperbolicEntropy.of(self)
                exponents = mu - 2.0 * total[:, None]
                u = np.copysign(np.exp(0.5 * potential.log_p + exponents), self.u)
                v = np.exp(0.5 * potential.log_q - mu - 2.0 * total[:, None])
                v = np.copysign(v, self.v)
            theta = np.empty((len(mu), 2, self.d))
            m, w = np.add(u, v, out=theta[:, 0]), np.subtract(u, v, out=theta[:, 1])
            small = CANCELS**-1 * (np.abs(u) + np.abs(v))
            for value, own, other in ((m, self.m, self.w), (w, self.w, self.m)):
                near = np.abs(value) < small
                if near.any():
                    t, j = np.nonzero(near & (np.abs(mu) < 1.0))
                    some = mu[t, j]
                    value[t, j] = decay[t, 0] * (own[j] * np.cosh(some) + other[j] * np.sinh(some))
        return theta
