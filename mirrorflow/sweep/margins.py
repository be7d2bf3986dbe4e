"""Study of separable labels: from the L2 to the L1 margin, against the margin over the scale.

What Moroshko et al. (2020) show in the limit holds at every time: x_t/γ_t nearly solves the margin
problem of R with the scale a_t/γ_t, whatever the start, the decay or the loss that is left.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mirrorflow.certificates import Certificate, columns, margin_direction, margin_gap
from mirrorflow.checks import Array, InputError, number, whole
from mirrorflow.claims.registry import statement
from mirrorflow.flows import margin_flow
from mirrorflow.limits.max_margin import max_margin, signed_rows
from mirrorflow.losses import Exponential
from mirrorflow.maps.log_factors import LogFactors
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression, random_stream
from mirrorflow.runs.store import Row, Run
from mirrorflow.runs.study import Summary
from mirrorflow.schedules import Constant
from mirrorflow.sweep.table import Judged

if TYPE_CHECKING:
    import pandas

__all__ = ["Margins"]

RTOL = 1e-8
WIDE = 1e6  # a scale at which R is L2


@dataclass(frozen=True)
class Margins(Judged, name="margins", about="from the L2 to the L1 margin, in logarithmic time"):
    """Gradient flow of separable labels to log t = 10⁵, from L2 to L1 margins.

    L1 and L2 norm of x_t/γ_t, over the least ones of that margin, for several scales of the start
    and totals of decay, beside those of the margin problem with the same a_t/γ_t.
    """

    scales: tuple[float, ...] = (1e2, 1.0, 1e-2, 1e-4, 1e-8)
    """a₀ of the starts, x₀ = 0."""
    totals: tuple[float, ...] = (0.0, 1.0, 2.0)
    """A, all of it by t = 8; other than 0 from the first scale alone."""
    log_times: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 8.0, 30.0, 1e2, 1e3, 1e4, 1e5)
    """log t."""
    n: int = 8
    """Samples (rows of Z)."""
    d: int = 24
    """Features (columns of Z)."""
    seeds: int = 2
    """Number of problems."""
    out: Path = Path("results/margins")

    groups: ClassVar[Mapping[str, str]] = {"scales": "flow", "n": "problem"}
    title: ClassVar[str] = "Margins of separable labels"
    note: ClassVar[str] = "Exponential loss; Gaussian Z, labels of a Gaussian x*."
    units: ClassVar[Mapping[str, str]] = {"scale": "units of x", "gamma": "margin"}
    claims: ClassVar[Mapping[str, str]] = {
        key: statement(f"margin_{key}") for key in ("gap", "direction")
    }

    def runs(self) -> list[Run]:
        self.check_common()
        if not self.scales or not self.totals or not self.log_times:
            raise InputError("--scales, --totals and --log-times must each hold an entry.")
        for scale in self.scales:
            number("--scales", scale, 1e-300, 1e9)
        for total in self.totals:
            number("--totals", total, 0.0, 1e3)
        for log_time in self.log_times:
            number("--log-times", log_time, -50.0, 1e7)
        whole("--n", self.n, 1, 1000)
        whole("--d", self.d, self.n, 10_000)
        whole("--seeds", self.seeds, 1, 10_000)
        starts = [(scale, self.totals[0]) for scale in self.scales]
        starts += [(self.scales[0], total) for total in self.totals[1:]]
        digest, names = self.digest(), ("seed", "scale", "total", "log_time")
        return [
            Run(
                {"n": self.n, "d": self.d}
                | dict(zip(names, (seed, scale, total, log_time), strict=True)),
                digest,
            )
            for seed, (scale, total), log_time in itertools.product(
                range(self.seeds), starts, self.log_times
            )
        ]

    @staticmethod
    def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
        return [_run(spec) for spec in specs]

    def summary(self, frame: pandas.DataFrame) -> Summary:
        """Medians over the problems at the last log-time."""
        last = frame[frame["log_time"].eq(frame["log_time"].max())]
        rows = []
        for (scale, total), some in last.groupby(["scale", "total"], sort=False):
            medians = some[["l1_excess", "l2_excess", "l1_expected"]].astype(float).median()
            rows.append([f"{scale:g}", f"{total:g}", *(f"{value:.1e}" for value in medians)])
        headings = ["a₀", "A", "L1 excess", "L2 excess", "L1 excess of the margin problem"]
        return Summary("Excess over the least norm of the margin, at the last time", headings, rows)

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        from mirrorflow import plots

        return plots.save(plots.margins(frame), self.out / "margins")


@functools.lru_cache(maxsize=32)
def _problem(n: int, d: int, seed: int) -> tuple[Regression, float, float]:
    """Labels that a Gaussian x* gives, and the least L1 and L2 norm of margin 1."""
    draw = random_stream("margins", seed)
    Z = draw.standard_normal((n, d))
    problem = Regression(Z, np.sign(Z @ draw.standard_normal(d)), loss=Exponential())
    wide = Factors.pilot(np.zeros(d), 2.0 * WIDE)
    least = max_margin(problem, wide, math.inf).x, max_margin(problem, wide, 0.0).x
    return problem, float(np.abs(least[0]).sum()), float(np.linalg.norm(least[1]))


def _run(spec: Row) -> tuple[Row, dict[str, Array]]:
    problem, l1, l2 = _problem(spec["n"], spec["d"], spec["seed"])
    start = LogFactors.of_scale(problem.d, -math.log(spec["scale"]))
    schedule = Constant.from_total(spec["total"], 8.0) if spec["total"] else Constant(0.0)
    flow = margin_flow(problem, start, [spec["log_time"]], schedule, RTOL)
    row: Row = {
        "status": flow.status,
        "message": flow.message,
        "gamma": math.nan,
        "ratio": math.nan,
    }
    names = ("l1_excess", "l2_excess", "l1_expected", "l2_expected")
    row |= dict.fromkeys(names, math.nan)
    checks: list[tuple[str, Certificate]] = []
    if flow.success and (gamma := float((signed_rows(problem) @ flow.x[-1]).min())) > 0.0:
        total = float(flow.total[-1])
        best = max_margin(problem, start, total, gamma)
        points = (flow.x[-1] / gamma, best.x / gamma)
        norms = [(np.abs(x).sum() / l1, np.linalg.norm(x) / l2) for x in points]
        row |= dict(zip(names, [float(v) - 1.0 for pair in norms for v in pair], strict=True))
        row |= {"gamma": gamma, "ratio": gamma / spec["scale"] * math.exp(4.0 * total)}
        checks.append(("gap", margin_gap(problem, start, flow, RTOL)))
        direction = margin_direction(problem, start, flow, RTOL)
        if row["ratio"] > 1.0:  # else it says nothing
            checks.append(("direction", direction))
    return {**row, **columns(checks)}, {"x_end": flow.x[-1]}
