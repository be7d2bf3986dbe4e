"""Study of depth: from the kernel's L2 to minimum L1 as the start's scale falls, at every depth L.

x = u^L − v^L from u = v = α₀ with a decay A, whose limit is that of the start α = α₀e^{−2A}: the
figure of Woodworth et al. 2020, exact, with flows under decay and the distance's law beside it.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow import references
from mirrorflow.checks import Array, InputError, number, whole
from mirrorflow.claims.registry import statement
from mirrorflow.flows import direct_flow
from mirrorflow.limits import interpolator, l1_distance
from mirrorflow.maps.powers import Powers
from mirrorflow.maps.product import Factors
from mirrorflow.problems import gaussian_recovery
from mirrorflow.runs.store import Row, Run
from mirrorflow.schedules import Constant
from mirrorflow.sweep.table import Recovery

if TYPE_CHECKING:
    import pandas

__all__ = ["Depth"]

FIRST = 3.0  # α₀: far in the kernel's regime
RTOL = 1e-10
STOP = 2.0  # when decay ends


@dataclass(frozen=True)
class Depth(Recovery, name="depth", about="from L2 to L1 as the start shrinks or decays, by depth"):
    """From L2 to L1 as the start shrinks or decays, for u^L − v^L at every depth L.

    Excess of the limit's L1 and L2 norm over the least ones, beside the law of `l1_distance` and
    the certificates of the limit and of integrated flows with decay.
    """

    depths: tuple[int, ...] = (2, 3, 4)
    """L."""
    scales: tuple[float, ...] = tuple(float(f"{s:.3g}") for s in np.geomspace(3.0, 1e-2, 16))
    """Effective scales α of the start: decay A = ½ log(3/α) from α₀ = 3."""
    flows: float = 0.5
    """Least scale at which the flow of u and v is integrated beside its limit."""
    seeds: int = 3
    out: Path = Path("results/depth")

    groups: ClassVar[Mapping[str, str]] = {"depths": "flow"}
    title: ClassVar[str] = "Depth"
    note: ClassVar[str] = "Decay A = ½ log(3/α) from u = v = 3 ends where a start α without does."
    units: ClassVar[Mapping[str, str]] = {"scale": "x^(1/L)", "flows": "x^(1/L)"}
    claims: ClassVar[Mapping[str, str]] = {
        **{key: statement(key) for key in ("l1_excess", "deep_l1_excess", "optimality")},
        "convergence": statement("depth_convergence"),
    }

    def runs(self) -> list[Run]:
        self.check_common()
        if not self.depths or not self.scales:
            raise InputError("--depths and --scales must each hold at least one entry.")
        for depth in self.depths:
            whole("--depths", depth, 2, 10)
        for scale in self.scales:
            number("--scales", scale, 1e-4, FIRST)
        number("--flows", self.flows, 0.1, 100.0)
        self.check_sizes(spare=1)
        digest, sizes = self.digest(), {name: getattr(self, name) for name in ("flows", *"ndk")}
        each = itertools.product(self.depths, range(self.seeds), map(float, self.scales))
        return [
            Run({**sizes, "depth": depth, "seed": seed, "scale": scale}, digest)
            for depth, seed, scale in each
        ]

    def batches(self, runs: Sequence[Run]) -> list[list[Run]]:
        size = len(self.scales)
        return [list(runs[i : i + size]) for i in range(0, len(runs), size)]

    @staticmethod
    def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
        """Each depth and scale on one problem."""
        return [_run(spec) for spec in specs]

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        from mirrorflow import plots

        return plots.save(plots.depth(frame), self.out / "depth")


def _run(spec: Row) -> tuple[Row, dict[str, Array]]:
    problem = gaussian_recovery(spec["n"], spec["d"], spec["k"], spec["seed"])
    ones, depth = np.full(problem.d, FIRST), spec["depth"]
    start, total = Powers(ones, ones, depth), 0.5 * math.log(FIRST / spec["scale"])
    begun = time.perf_counter()
    limit = interpolator(problem, start, total)
    seconds = time.perf_counter() - begun
    best, least = references.min_l1(problem), references.min_l2(problem)
    row: Row = {
        "total": total,
        "status": limit.status,
        "limit_seconds": seconds,
        "l1": float(np.abs(limit.x).sum()) / best.value - 1.0,
        "l2": float(np.linalg.norm(limit.x)) / math.sqrt(least.value) - 1.0,
        "predicted_l1": l1_distance(problem, start, total).excess / best.value,
    }
    checks = [("optimality", certify.optimality(problem, limit, total))]
    if total > 0.0:
        judged = limit
        if depth == 2:  # the entropy's two parts are those of m ⊙ w
            judged = interpolator(problem, Factors(ones + ones, 0.0 * ones), total)
        name = "l1_excess" if depth == 2 else "deep_l1_excess"
        checks.append((name, certify.l1_excess(judged, best, total)))
    if spec["scale"] >= spec["flows"]:
        schedule = Constant.from_total(total, STOP)
        late = 40.0 / certify.slowest_rate(problem, limit)
        times = STOP + np.append(-STOP, late * np.linspace(0.0, 1.5, 7))
        flow = direct_flow(problem, start, schedule, times, RTOL)
        if flow.success:
            check = certify.convergence(problem, limit, schedule, flow, RTOL)
            checks.append(("convergence", check))
    return {**row, **certify.columns(checks)}, {"x": limit.x}
