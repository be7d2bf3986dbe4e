"""Shared cases: random problems with every kind of initialisation, and the reference file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mirrorflow as mf

CASES = json.loads((Path(__file__).parent / "data" / "flow_cases.json").read_text())["cases"]


@dataclass
class Case:
    """One entry of flow_cases.json as the library's objects."""

    name: str
    raw: dict[str, Any]

    @property
    def problem(self) -> mf.Regression:
        return mf.Regression(self.raw["Z"], self.raw["y"])

    @property
    def factors(self) -> mf.Factors:
        return mf.Factors(self.raw["m0"], self.raw["w0"])

    @property
    def schedule(self) -> mf.Schedule:
        given = dict(self.raw["schedule"])
        kind = getattr(mf, given.pop("name").capitalize())
        return kind(**given)

    @property
    def total(self) -> float:
        total = self.raw["total_infinity"]
        return np.inf if total is None else total


def _cases() -> list[Case]:
    return [Case(f"{i}-{c['kind']}-{c['plan']}", c) for i, c in enumerate(CASES)]


@pytest.fixture(params=_cases(), ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="session")
def recovery() -> tuple[mf.Regression, mf.Factors]:
    """The default problem (40×100, 5 nonzeros) and one initialisation."""
    rng = np.random.default_rng(0)
    problem = mf.gaussian_recovery(40, 100, 5, 0)
    return problem, mf.Factors.pilot(rng.normal(0.0, 100**-0.25, 100))


@pytest.fixture(scope="session")
def small() -> tuple[mf.Regression, mf.Factors]:
    """6×15, arbitrary signs: m < 0 and |w| > |m| among them."""
    rng = np.random.default_rng(5)
    Z = rng.standard_normal((6, 15))
    problem = mf.Regression(Z, Z @ np.where(np.arange(15) < 2, 1.5, 0.0))
    return problem, mf.Factors(rng.standard_normal(15), rng.standard_normal(15))
