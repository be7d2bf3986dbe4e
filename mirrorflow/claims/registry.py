"""Registry of claims and of the trials that judge them.

Sources: ICLR = Jacobs & Burkholz, ICLR 2025; v1 = its first arXiv version (2408.09966v1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from mirrorflow.certificates import Certificate, columns
from mirrorflow.checks import Array
from mirrorflow.losses import Exponential, Logistic, Loss, Poisson, PseudoHuber, Squared
from mirrorflow.problems import random_stream
from mirrorflow.runs.store import Row

__all__ = ["CLAIMS", "GROUPS", "LOSSES", "SECTIONS", "Checks", "Claim", "Rng"]
__all__ += ["compute", "judges", "statement", "trial"]

Checks = dict[str, Certificate]
Rng = np.random.Generator
Trial = Callable[[Rng, Loss], Checks]

SECTIONS = {
    "2.1": "Theorem 2.1: a mirror flow with a time-dependent potential",
    "2.2": "Theorem 2.2: convergence",
    "2.3": "Theorem 2.3: the limit",
    "R": "The potential: where it pulls",
    "C": "Commuting parametrizations",
    "S": "Sharpness",
    "D": "Discrete steps",
    "A": "Small starts, averages, margins",
}
LOSSES: dict[str, Loss] = {
    "squared": Squared(),
    "pseudo_huber": PseudoHuber(1.0),
    "logistic": Logistic(),
    "exponential": Exponential(),
    "poisson": Poisson(),
    "none": Squared(),
}


class Claim(NamedTuple):
    """One row of the ledger.

    `kind`: "claim" must hold in every trial; "printed" is a formula as v1 prints it, and "changed"
    one with a wrong constant put in, which must fail in every trial while the claim named in
    `corrected` holds; "outside" says what happens where the theorem's conditions are not met.
    """

    key: str
    section: str
    statement: str
    source: str
    conditions: str
    kind: Literal["claim", "printed", "changed", "outside"] = "claim"
    corrected: str = ""


class Group(NamedTuple):
    """Claims that one random problem tries, under each of its losses."""

    losses: tuple[str, ...]
    keys: tuple[str, ...]
    trial: Trial


CLAIMS: dict[str, Claim] = {}
GROUPS: dict[str, Group] = {}


def judges(group: str, losses: Sequence[str], *claims: Claim) -> Callable[[Trial], Trial]:
    """Register a trial, (random stream, loss) → certificate by key, with the claims it judges.

    Raises
    ------
    ValueError
        If the group or a claim's key is there already.
    """

    def register(trial: Trial) -> Trial:
        names = [group] * (group in GROUPS) + [claim.key for claim in claims if claim.key in CLAIMS]
        if names:
            raise ValueError(f"a claim must have a name of its own, but {names} are taken")
        CLAIMS.update({claim.key: claim for claim in claims})
        GROUPS[group] = Group(tuple(losses), tuple(claim.key for claim in claims), trial)
        return trial

    return register


def statement(key: str) -> str:
    """What a claim says, with the number of its theorem."""
    claim = CLAIMS[key]
    return claim.statement + f" ({claim.section})" * claim.section[0].isdigit()


def trial(group: str, loss: str, number: int) -> Checks:
    """The certificates of one trial, by the claim's key.

    All that is random comes from a stream of the group and the number: all losses see the same
    problems.

    Raises
    ------
    ValueError
        If a certificate is that of none of the group's claims.
    """
    _, keys, judge = GROUPS[group]
    checks = judge(random_stream("claims", group, number), LOSSES[loss])
    if not checks.keys() <= {*keys}:
        raise ValueError(f"{group} must judge {keys}, but it judges {tuple(checks)}")
    return checks


def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
    """A row for each specification: value, bound and whether it holds, by the claim's key."""
    checks = [trial(spec["group"], spec["loss"], spec["trial"]) for spec in specs]
    return [(columns(some.items()), {}) for some in checks]
