"""Losses φ(z, y) of a prediction z and a target y: f(x) = (1/n) Σ φ((Zx)_i, y_i).

A new loss is one file with a kernel and a subclass of `Loss`; see docs/extending.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array
from mirrorflow.compiled.options import Kernel, kernel

__all__ = ["Loss", "Squared"]

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
        What the kernel is told besides z and y, such as δ of pseudo-Huber.
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
    """φ = ½(z − y)², so that f = 1/(2n)‖Zx − y‖²: the loss of regression."""

    rows: ClassVar[Kernel] = squared

    def minimiser(self, y: Array) -> Array:
        return y

    # as the kernel, but without compiled code: what only reads data needs none
    def value(self, z: ArrayLike, y: ArrayLike) -> Array:
        return 0.5 * self.slope(z, y) ** 2

    def slope(self, z: ArrayLike, y: ArrayLike) -> Array:
        return np.subtract(z, y)

    def curvature(self, z: ArrayLike, y: ArrayLike) -> Array:
        return np.ones(np.broadcast_shapes(np.shape(z), np.shape(y)))
