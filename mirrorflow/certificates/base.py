"""A claim on one case: its number, its bound, its verdict; and what every check is built from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from mirrorflow.checks import Array
from mirrorflow.display import Displayed
from mirrorflow.problems import Regression

__all__ = [
    "EPS",
    "PATH_FACTOR",
    "SMALLEST",
    "UNJUDGED",
    "Certificate",
    "Trajectory",
    "columns",
    "dense",
    "drift",
    "misfit_unit",
    "path_bounds",
    "size_of",
    "unjudged",
]

EPS = float(np.finfo(float).eps)
# Error of what the flow contracts (the loss, a misfit) over local tolerance: between two
# integrators at the same rtol up to 20 was seen; a wrong constant moves every value here by 0.1
# and more. What the flow conserves adds up from step to step instead: `drift`.
PATH_FACTOR = 1e2
SMALLEST = 1e-140  # factors below it add nothing to x = m ⊙ w
UNJUDGED = "can't be judged"


@dataclass(frozen=True, slots=True)
class Certificate(Displayed):
    """One claim on one case: a number, the bound it must keep, and whether it does.

    Attributes
    ----------
    name : str
    value, bound : float
        A bound of nan says that nothing can be judged: the value may be what the integrator or
        the solver that it rests on is off by.
    holds : bool
        value ≤ bound; nan holds nowhere.
    """

    name: str
    value: float
    bound: float
    holds: bool

    @classmethod
    def of(cls, name: str, value: float, bound: float, explained: float = -math.inf) -> Certificate:
        """Compare; a value above `bound` that errors up to `explained` account for has no bound."""
        if bound < value <= explained:
            bound = math.nan
        return cls(name, float(value), float(bound), bool(value <= bound))

    def _facts(self) -> dict[str, Any]:
        return {"name": self.name, **{n: getattr(self, n) for n in ("value", "bound", "holds")}}

    @property
    def verdict(self) -> str:
        """ "confirmed", "refuted", or "can't be judged" where value or bound is nan."""
        if self.holds:
            return "confirmed"
        return UNJUDGED if unjudged(self.value, self.bound) else "refuted"


def unjudged(value: ArrayLike, bound: ArrayLike) -> NDArray[np.bool_]:
    """Whether a value and its bound, or each of many, say nothing: one of them is nan."""
    return np.isnan(value) | np.isnan(bound)


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
    @property
    def steps(self) -> Any: ...


def columns(checks: Iterable[tuple[str, Certificate]]) -> dict[str, Any]:
    """A row's columns NAME, NAME_bound, NAME_holds; a name given twice raises ValueError."""
    row: dict[str, Any] = {}
    for name, check in checks:
        if name in row:
            raise ValueError(f"two certificates of one run are named {name!r}")
        row |= {name: check.value, f"{name}_bound": check.bound, f"{name}_holds": check.holds}
    return row


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


# Every accepted step leaves an error of at most rtol·√(u_i² + v_i²) in u_i = (m_i + w_i)/√2 and in
# v_i = (m_i − w_i)/√2. Both factors obey a linear equation, u̇ = −(∇f + 2α)u, v̇ = (∇f − 2α)v, so
# that a relative error stays as it is: after N steps N·rtol where u ≈ v, more where a factor was
# once swamped by the other. What the row space sees of it the flow contracts, as the dual
# function is convex; the rest, m² − w² and ∇R off the row space, adds up.


def drift(path: Trajectory, rtol: float) -> float:
    """rtol·(100 + steps): the relative error of m and w that adds up along a path."""
    return rtol * (PATH_FACTOR + float(np.max(path.steps, initial=0)))


def path_bounds(
    path: Trajectory, rtol: float, scale: float = 1.0, added: float = 0.0
) -> tuple[float, float]:
    """The bound scale·`drift` + added, and the error up to which the steps still explain a value.

    That is scale·2·`drift`·max (u²L_u + v²L_v)/(u² + v²) + added, with
    L_u = max_{s≤t} √(u_s² + v_s²)/|u_s|, and L_v likewise: an error of x over ½(m² + w²).
    """
    parts = path.m + path.w, path.m - path.w
    squares = np.maximum(parts[0] ** 2 + parts[1] ** 2, SMALLEST**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = [np.maximum.accumulate(np.sqrt(squares) / np.abs(a)) * a * a for a in parts]
        worst = np.fmax.reduce((lost[0] + lost[1]) / squares, axis=None, initial=1.0)
    tight = scale * drift(path, rtol)
    return tight + added, 2.0 * tight * float(worst) + added
