"""Study of discrete steps: where (S)GD and momentum end, against the step size.

The end point is compared with the flow's limit, with the limit known before training and with the
exact limit of the steps that were made, up to the edge of stability 2/λ_max and beyond it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from mirrorflow.certificates import UNJUDGED, Certificate, lag_law
from mirrorflow.checks import Array, InputError, number, whole
from mirrorflow.claims.registry import statement
from mirrorflow.runs.store import Run
from mirrorflow.runs.study import Summary, Verdict, described
from mirrorflow.sweep import discrete_trials as trials
from mirrorflow.sweep.table import Recovery

if TYPE_CHECKING:
    import pandas

__all__ = ["Discrete", "orders"]

OWN = {"momentum": "heavy_ball", "batch": "sgd", "streams": "sgd"}  # flags of one method
ORDERS = {  # distance, and its order in η
    "the flow's limit is off by O(η)": ("flow_distance", 1.0),
    "the limit predicted before training is off by O(η²)": ("predicted_distance", 2.0),
}
LONG = 0.25  # η(1 + 2ℓ)λ_max/2 beyond which the next order may hide the order
FLOOR = 1e-9  # relative distances below it are what the prediction's quadrature is off by


@dataclass(frozen=True)
class Discrete(
    Recovery, name="discrete", about="where GD, momentum and SGD end, against the step size"
):
    """Where gradient descent, heavy ball and SGD end, against the step size.

    The distance of the end point to the flow's limit (of first order in η), to the prediction
    before training (of second order) and to the exact discrete limit (rounding).
    """

    methods: tuple[Literal["gd", "heavy_ball", "sgd"], ...] = ("gd", "heavy_ball", "sgd")
    """Gradient descent, heavy ball, SGD."""
    ratios: tuple[float, ...] = (
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.45, 0.64, 0.9),
        *(1.1, 1.3, 1.5, 1.8, 2.2, 2.6, 3.2),
    )
    """Step sizes η (with momentum μ the step is η(1 − μ)) in units of 2/λ_max, the edge of
    stability at the flow's limit. Orders need a ratio with its double and its fourfold."""
    n: int = 8
    d: int = 20
    k: int = 3
    seeds: int = 2
    beta: float = 1.0
    """β = m₀² − w₀² of each problem's initialisation; x₀ ~ N(0, I/√d)."""
    momentum: Annotated[float | None, described("0.5")] = None
    """μ of heavy ball."""
    batch: Annotated[int | None, described("2")] = None
    """Rows of a minibatch of SGD, drawn afresh in each step."""
    streams: Annotated[int | None, described("8")] = None
    """Runs of SGD of which the mean is taken."""
    steps: int = 100_000
    """The most steps of a run; it ends where the misfit is 1e-12."""
    out: Path = Path("results/discrete")

    groups: ClassVar[Mapping[str, str]] = {
        "methods": "descent",
        "beta": "problem",
        "momentum": "descent",
    }
    title: ClassVar[str] = "Discrete steps"
    note: ClassVar[str] = (
        "No decay: α = 0. Orders by the three least step sizes that double, for gradient descent "
        "and heavy ball; SGD's mean is off by the noise of its few runs as well."
    )
    units: ClassVar[Mapping[str, str]] = {
        "beta": "units of x",
        "step_size": "flow time per step",
        **dict.fromkeys(("steps", "steps_made"), "steps"),
    }
    claims: ClassVar[Mapping[str, str]] = {
        "argmin": statement("discrete_argmin"),
        "balance": statement("discrete_balance"),
        "cap": statement("scale_cap"),
    }

    def runs(self) -> list[Run]:
        self._check()
        digest = self.digest()
        own = {"momentum": self.momentum, "batch": self.batch, "streams": self.streams}
        usual = {"momentum": 0.5, "batch": 2, "streams": 8}
        runs = []
        for method, seed, ratio in itertools.product(
            self.methods, range(self.seeds), map(float, self.ratios)
        ):
            spec = {name: getattr(self, name) for name in ("n", "d", "k", "beta", "steps")}
            for flag, value in own.items():
                name = "batch_size" if flag == "batch" else flag
                given = usual[flag] if value is None else value
                spec[name] = given if OWN[flag] == method else None
            runs.append(Run({**spec, "method": method, "seed": seed, "ratio": ratio}, digest))
        return runs

    def _check(self) -> None:
        self.check_common()
        if not self.methods or not self.ratios:
            raise InputError("--methods and --ratios must each hold at least one entry.")
        for flag, method in OWN.items():
            if method not in self.methods:
                self.refuse([flag], f"--methods {method}", f"it is {' '.join(self.methods)}")
        for ratio in self.ratios:
            number("--ratios", ratio, 1e-4, 100.0)
        self.check_sizes(60, 0)  # samples: of the stable step of SGD
        number("--beta", self.beta, 0.0, 1e6, open_low=True)
        number("--momentum", 0.5 if self.momentum is None else self.momentum, 0.0, 0.99)
        whole("--batch", 1 if self.batch is None else self.batch, 1, self.n)
        whole("--streams", 1 if self.streams is None else self.streams, 1, 10_000)
        whole("--steps", self.steps, 1, 10**8)

    compute = staticmethod(trials.compute)

    def narrowed(self, run: Run, claim: str | None = None) -> Self:
        ratios = self.ratios if claim in ORDERS else (run.spec["ratio"],)
        batch = run.spec["batch_size"]
        return dataclasses.replace(super().narrowed(run), ratios=ratios, batch=batch)

    def against(self, frame: pandas.DataFrame, verdict: Verdict) -> list[str]:
        if verdict.claim not in ORDERS:
            return super().against(frame, verdict)
        return [key for key, check in orders(frame, verdict.claim) if check.verdict == "refuted"]

    def verdicts(self, frame: pandas.DataFrame) -> list[Verdict]:
        table = super().verdicts(frame)
        for claim in ORDERS:
            checks = [check for _, check in orders(frame, claim)]
            verdicts = [check.verdict for check in checks]
            wrong, silent = verdicts.count("refuted"), verdicts.count(UNJUDGED)
            words = f"{UNJUDGED} in {silent}" if silent else "confirmed"
            words = f"refuted in {wrong}" if wrong else words
            if checks:
                values = (check.value for check in checks if not math.isnan(check.value))
                worst = max(values, default=math.nan)
                table.append(Verdict(claim, len(checks), worst, 0.25, words))
        return table

    def remarks(self, frame: pandas.DataFrame) -> list[str]:
        remarks = []
        for status, words in (("diverged", "diverged"), ("not_converged", "did not converge")):
            some = frame[frame["status"].eq(status)]
            for method, rows in some.groupby("method", sort=False):
                least = rows.sort_values("ratio").iloc[0]
                remarks.append(
                    f"{method}: at {len(rows)} points runs {words}, the least at "
                    f"{least['ratio']:g} of 2/λ_max (the edge of {method} on that problem: "
                    f"{least['edge']:.3g})."
                )
        return remarks

    def summary(self, frame: pandas.DataFrame) -> Summary:
        """Median distances over the problems on which runs converged."""
        rows = []
        distances = ["flow_distance", "predicted_distance", "discrete_distance"]
        for (method, ratio), some in frame.groupby(["method", "ratio"], sort=False):
            done = some[some["status"].eq("converged")]
            medians = done[distances].astype(float).median()
            cells = ("–" if math.isnan(value) else f"{value:.1e}" for value in medians)
            rows.append([str(method), f"{ratio:g}", f"{len(done)} of {len(some)}", *cells])
        headings = ["method", "η λ_max/2", "converged", "to flow's", "to predicted", "to exact"]
        return Summary("Distance of the end point to three limits, over max|x|", headings, rows)

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        from mirrorflow import plots

        return plots.save(plots.discrete(frame), self.out / "discrete")


def orders(frame: pandas.DataFrame, claim: str) -> Iterator[tuple[str, Certificate]]:
    """Key and certificate of an order for each method and problem, from three step sizes.

    Can't be judged: distances that the prediction's quadrature explains, and slopes that the next
    order does, as the steps are long or the slope extrapolated to η = 0 is the one claimed.
    """
    column, order = ORDERS[claim]
    some = frame[frame["method"].ne("sgd") & frame["status"].eq("converged")]
    for _, group in some.groupby(["method", "seed"], sort=False):
        rows = {float(row["ratio"]): row for _, row in group.iterrows()}
        least = next((r for r in sorted(rows) if {2 * r, 4 * r} <= set(rows)), None)
        if least is None:
            continue
        errors = [float(rows[scale * least][column]) for scale in (4, 2, 1)]
        check = Certificate.of("lag_law", math.nan, math.nan)
        if min(errors) > FLOOR:
            check = lag_law(errors, order)
            before, last = (math.log2(errors[i] / errors[i + 1]) for i in (0, 1))
            # the edge of heavy ball is (1 + μ)/(1 − μ) = 1 + 2ℓ, what the next order grows with
            long = 4 * least * float(rows[least]["edge"]) > LONG
            if not check.holds and (long or abs(2 * last - before - order) <= check.bound):
                check = Certificate.of("lag_law", check.value, math.nan)
        yield str(rows[least]["key"]), check
