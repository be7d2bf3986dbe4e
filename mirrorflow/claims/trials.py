"""Trials of all claims: a module of this package that is imported here has its rows in the ledger.

Everything random comes from streams keyed by group and trial.
"""

from __future__ import annotations

from collections.abc import Sequence

from mirrorflow import certificates as certify
from mirrorflow.checks import Array
from mirrorflow.claims.registry import GROUPS, LOSSES, Checks
from mirrorflow.problems import random_stream
from mirrorflow.runs.store import Row

# in the order of the page
# isort: off
from mirrorflow.claims import paths, convergence, limits, potential  # noqa: F401
from mirrorflow.claims import depth, discrete, small_starts  # noqa: F401
# isort: on

__all__ = ["compute", "trial"]


def trial(group: str, loss: str, number: int) -> Checks:
    """The certificates of one trial, by the claim's key."""
    # all losses see the same problems
    return GROUPS[group].trial(random_stream("claims", group, number), LOSSES[loss])


def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
    """A row for each specification: value, bound and whether it holds, by the claim's key."""
    checks = [trial(spec["group"], spec["loss"], spec["trial"]) for spec in specs]
    return [(certify.columns(some.items()), {}) for some in checks]
