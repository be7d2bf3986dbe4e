"""The factors m and w of x = m ⊙ w, and their initialisations."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, number, real_array, vector
from mirrorflow.display import Displayed
from mirrorflow.runs.untrusted import naming, read_arrays

__all__ = ["Factors"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Factors(Displayed):
    """Mask m and weight w, both (d,), any real numbers: x = m ⊙ w.

    Signs are free (m < 0, |w| > |m|), balanced coordinates |m_i| = |w_i| ≠ 0 keep the sign of
    x_i forever, m_i = w_i = 0 stays 0.

    Examples
    --------
    >>> Factors.pilot([0.0, 2.0], beta=3.0).x
    array([0., 2.])
    """

    m: Array
    w: Array

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
    def d(self) -> int:
        """Number of coordinates."""
        return self.m.size

    @property
    def x(self) -> Array:
        """m ⊙ w, shape (d,)."""
        return self.m * self.w

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
