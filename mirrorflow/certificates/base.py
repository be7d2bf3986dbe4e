"""A claim on one case: its number, its bound, its verdict; and what every check is built from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse

from mirrorflow.checks import Array
from mirrorflow.display import Displayed
from mirrorflow.problems import Regression

__all__ = [
    "EPS",
    "PATH_FACTOR",
    "SMALLEST",
    "Certificate",
    "Trajectory",
    "dense",
    "misfit_unit",
    "size_of",
]

EPS = float(np.finfo(float).eps)
# Global error over local tolerance: steps × amplification. Between two integrators at the same
# rtol up to 20 was seen; a wrong constant moves every value here by 0.1 and more.
PATH_FACTOR = 1e2
SMALLEST = 1e-140  # factors below it add nothing to x = m ⊙ w


@dataclass(frozen=True, slots=True)
class Certificate(Displayed):
    """One claim on one case: a number, the bound it must keep, and whether it does.

    Attributes
    ----------
    name : str
    value, bound : float
    holds : bool
        value ≤ bound.
    """

    name: str
    value: float
    bound: float
    holds: bool

    @classmethod
    def of(cls, name: str, value: float, bound: float) -> Certificate:
        """Compare: nan holds nowhere."""
        return cls(name, float(value), float(bound), bool(value <= bound))

    def _facts(self) -> dict[str, Any]:
        return {"name": self.name, **{n: getattr(self, n) for n in ("value", "bound", "holds")}}


class Trajectory(Protocol):
    """What checks read of a path: a `Flow`, or a `referee.Path`."""

    @property
    def times(self) -> Array: ...
    @property
    def x(self) -> Array: ...
    @property
    def m(self) -> Array: ...
    @property
    def w(self) -> Array: ...
    @property
    def loss(self) -> Array: ...
    @property
    def total(self) -> Array: ...


def dense(problem: Regression) -> Array:
    """Z as an array: these checks are made for small problems."""
    Z: Any = problem.Z
    return Z.toarray() if scipy.sparse.issparse(Z) else Z


def misfit_unit(problem: Regression, path: Trajectory) -> float:
    """√f of the largest |Z|½(m² + w²) of a path: what relative errors of x are worth in √f."""
    sizes = np.linalg.norm(0.5 * (path.m**2 + path.w**2) @ np.abs(dense(problem).T), axis=1)
    return float(sizes.max()) / math.sqrt(2.0 * problem.n)


def size_of(path: Trajectory) -> float:
    """Largest √(x² + a²) = ½(m² + w²) of a path."""
    return float((0.5 * (path.m**2 + path.w**2)).max(initial=0.0)) or 1.0
