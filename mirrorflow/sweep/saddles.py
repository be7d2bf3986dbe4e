"""Study of small starts: flows from a = e^{−ℓ} beside the exact path from saddle to saddle, and
their time averages beside scikit-learn's LASSO path.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.checks import Array, InputError, number
from mirrorflow.claims.registry import statement
from mirrorflow.extras import require
from mirrorflow.flows import SaddlePath, saddle_path
from mirrorflow.flows.quadrature import time_average
from mirrorflow.maps.log_factors import LogFactors
from mirrorflow.problems import Regression, gaussian_recovery
from mirrorflow.runs.store import Row, Run
from mirrorflow.schedules import Constant
from mirrorflow.sweep.table import Recovery

if TYPE_CHECKING:
    import pandas

__all__ = ["Saddles", "averages"]

TIMES = 400  # of the paths that are kept
AVERAGES = 40


@dataclass(frozen=True)
class Saddles(
    Recovery, name="saddles", about="saddle to saddle from e^(-50) to e^(-5000), LASSO path"
):
    """Flows of m ⊙ w from a = e^{−ℓ} beside their limit path, and averages beside the LASSO path.

    Each row has the proven bound on the distance to the path from saddle to saddle, the error of
    the time average as a LASSO solution, and the same of the exact path and of scikit-learn's
    lars_path, with their times.
    """

    scales: tuple[float, ...] = (50.0, 200.0, 1000.0, 5000.0)
    """ℓ = log(1/a) of the starts, x₀ = 0."""
    end: float = 1.3
    """Where flows end, in units of the τ of the path's last jump."""
    out: Path = Path("results/saddles")

    groups: ClassVar[Mapping[str, str]] = {"scales": "flow"}
    title: ClassVar[str] = "Small starts"
    note: ClassVar[str] = "Times τ = t/ℓ; penalties λ = 1/(2τ), f(x) + λ‖x‖₁."
    units: ClassVar[Mapping[str, str]] = {"end": "τ of the last jump", "last_jump": "τ"}
    claims: ClassVar[Mapping[str, str]] = {
        key: statement(key) for key in ("saddle_deviation", "lasso_of_average")
    }

    def runs(self) -> list[Run]:
        require("the study saddles", "sklearn")
        self.check_common()
        if not self.scales:
            raise InputError("--scales must hold at least one entry.")
        for scale in self.scales:
            number("--scales", scale, 1.0, 1e4)
        number("--end", self.end, 0.1, 10.0)
        self.check_sizes()
        digest, sizes = self.digest(), {name: getattr(self, name) for name in ("end", *"ndk")}
        each = itertools.product(range(self.seeds), map(float, self.scales))
        return [Run({**sizes, "seed": seed, "scale": scale}, digest) for seed, scale in each]

    @staticmethod
    def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
        """One start on one problem."""
        return [_run(spec) for spec in specs]

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        from mirrorflow import plots

        return plots.save(plots.saddles(frame, paths), self.out / "saddles")


def averages(path: SaddlePath, tau: Array) -> Array:
    """(1/τ)∫x along a path from saddle to saddle, (T, d): LASSO solutions of λ = 1/(2τ) as long as
    no coordinate leaves for good (Berthier 2025)."""
    spans = np.clip(tau[:, None] - path.times, 0.0, np.append(np.diff(path.times), np.inf))
    return spans @ path.x / tau[:, None]


def _lasso(problem: Regression, penalties: Array) -> tuple[Array, float]:
    """LASSO solutions, (T, d), on scikit-learn's path of all penalties, and its seconds."""
    from sklearn.linear_model import lars_path

    begun = time.perf_counter()
    knots, _, coefficients = lars_path(problem.Z, problem.y, method="lasso")
    seconds = time.perf_counter() - begun
    rows = [np.interp(penalties, knots[::-1], row[::-1]) for row in coefficients]
    return np.array(rows).T, seconds


def _run(spec: Row) -> tuple[Row, dict[str, Array]]:
    problem, scale = gaussian_recovery(spec["n"], spec["d"], spec["k"], spec["seed"]), spec["scale"]
    begun = time.perf_counter()
    path = saddle_path(problem)
    seconds, last = time.perf_counter() - begun, float(path.times[-1])
    end = spec["end"] * last
    tau = np.linspace(0.0, end, TIMES + 1)[1:]
    x, _ = certify.small_start(problem, scale, tau)
    start, none = LogFactors.of_scale(problem.d, scale), Constant(0.0)
    at = np.geomspace(0.6 * float(path.times[1]), end, AVERAGES)
    mean, _ = time_average(problem, start, none, scale * at)
    lasso, lars_seconds = _lasso(problem, 0.5 / at)
    own = averages(path, at)
    size = float(np.abs(lasso).max())
    # a coordinate that moved and is below its threshold stays away: from then on no LASSO solution
    correlations = np.abs(path.at(at)[1] @ problem.Z)
    lost = ((own != 0) & (correlations < 1.0 - 1e-9)).any(axis=1)
    kept = ~np.logical_or.accumulate(lost)
    average, gap = certify.lasso_of_average(problem, start, none, scale * end)
    row: Row = {
        "jumps": path.times.size - 1,
        "last_jump": last,
        "saddle_seconds": seconds,
        "lars_seconds": lars_seconds,
        "monotone_share": float(kept.mean()),
        "path_error": float(np.abs(own - lasso)[kept].max()) / size,
        "average_error": float(np.abs(mean - lasso)[kept].max()) / size,
        "gap": gap,
    }
    checks = [
        ("saddle_deviation", certify.saddle_deviation(problem, scale, end)),
        ("lasso_of_average", average),
    ]
    largest = np.argsort(-np.abs(path.x).max(axis=0))[:8]
    arrays = {"tau": tau, "x": x[:, largest], "saddles": path.at(tau)[0][:, largest], "at": at}
    arrays |= {"mean": mean[:, largest], "lasso": lasso[:, largest]}
    return {**row, **certify.columns(checks)}, arrays
