"""Certificate: a claim on one case, its number, its bound, its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirrorflow.display import Displayed

__all__ = ["UNJUDGED", "Certificate", "columns", "unjudged"]

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

    Examples
    --------
    >>> Certificate.of("misfit", 2e-9, 1e-8).verdict
    'confirmed'
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
    """Whether a value and its bound, or each of many, say nothing: one of them is nan.

    Parameters
    ----------
    value, bound : floats or arrays

    Returns
    -------
    bool or array of bool

    Examples
    --------
    >>> import numpy as np
    >>> unjudged([1.0, 2.0], [2.0, np.nan])
    array([False,  True])
    """
    return np.isnan(value) | np.isnan(bound)


def columns(checks: Iterable[tuple[str, Certificate]]) -> dict[str, Any]:
    """A row's columns NAME, NAME_bound, NAME_holds; a name given twice raises ValueError.

    Parameters
    ----------
    checks : iterable of (str, Certificate)
        With the name that each has in the row.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If a name is given twice.

    Examples
    --------
    >>> columns([("misfit", Certificate.of("misfit", 2e-9, 1e-8))])
    {'misfit': 2e-09, 'misfit_bound': 1e-08, 'misfit_holds': True}
    """
    row: dict[str, Any] = {}
    for name, check in checks:
        if name in row:
            raise ValueError(f"two certificates of one run are named {name!r}")
        row |= {name: check.value, f"{name}_bound": check.bound, f"{name}_holds": check.holds}
    return row
