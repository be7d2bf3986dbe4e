"""Studies of the paper's discrete experiments (Figures 1a, 1b, 4, 5 of arXiv v1).

Gradient descent or SGD on sparse recovery from several initialisations, under three
regularisers and four shapes of schedule, each at several totals A = Σ ηα_k: the paper leaves
the strengths and the unit of k open, and A is what the theory counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from mirrorflow.certificates import UNJUDGED
from mirrorflow.checks import Array, InputError, number, whole
from mirrorflow.descent import REGULARIZERS
from mirrorflow.runs.store import Row, Run
from mirrorflow.runs.study import Summary, Verdict, described
from mirrorflow.stepwise import SHAPES
from mirrorflow.sweep import descent_trials as trials
from mirrorflow.sweep.table import Recovery

if TYPE_CHECKING:
    import pandas

__all__ = ["Descents", "Initialization", "Regularization", "Schedules", "Sgd"]

Shapes = tuple[Literal["constant", "harmonic", "quadratic", "geometric"], ...]
BATCH = 60  # runs that advance together in one process
FLOW_BOUND = 1e-2  # on the distance of GD's end from exact flow's, relative
NAMES = {"factors": "α(‖m‖²+‖w‖²)", "mask_l1": "α‖m‖₁", "l1_on_x": "α‖x‖₁"}


@dataclass(frozen=True)
class Descents(Recovery):
    """Gradient descent on sparse recovery: 40 samples, 100 features, 5 nonzeros."""

    noise: float = 0.0
    """Standard deviation of the noise in y, in units of y."""
    data_seed: int = 0
    """Seed of the drawn Z, x* and noise."""
    seeds: int = 5
    """Number of initialisations x₀ ~ N(0, I/√d)."""
    beta: float = 1.0
    """β = m₀² − w₀² of the PILoT initialisation."""
    step_size: float = 1e-4
    """η, in flow time per step."""
    steps: int = 300_000
    """Steps of every run: the budget."""
    per: Annotated[int | None, described("1000")] = None
    """Steps for which k of the schedules 1/k, 1/k², 0.95ᵏ stays the same."""
    totals: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    """Totals A = Σ ηα_k; each schedule's strength is set to spend them within the budget."""
    shapes: Shapes = SHAPES  # type: ignore[assignment]
    """Shapes of the schedules."""
    loss: Literal["mse", "half_mse"] = "mse"
    """The paper's mean-squared error ‖Zx − y‖²/n, or half of it."""
    l1: Annotated[Literal["subgradient", "proximal"] | None, described("subgradient")] = None
    """How the L1 regularisers step: plain gradient descent as in the paper, or
    soft-thresholding."""
    record: int = 150
    """Recorded steps per run."""

    groups: ClassVar[Mapping[str, str]] = {"noise": "problem", "step_size": "descent"}
    regularizers: ClassVar[tuple[str, ...]] = REGULARIZERS
    starts: ClassVar[tuple[str, ...]] = ("pilot",)
    figure: ClassVar[str]  # a function of `mirrorflow.plots`
    stem: ClassVar[str] = ""  # of its files, where it is not the function's name
    with_flow: ClassVar[bool] = True
    batch_size: ClassVar[int | None] = None
    note: ClassVar[str] = (
        "Distances ‖x − x*‖₂ at the last step, means over the initialisations. In each claim the "
        "value must stay below the bound."
    )
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("steps", "per", "diverged_at"), "steps"),
        **dict.fromkeys(("beta", "distance_end", "distance_least"), "units of x"),
        **dict.fromkeys(("flow_distance", "limit_distance", "scale_effective"), "units of x"),
        "noise": "units of y",
        "loss_end": "units of y²",
        "step_size": "flow time per step",
        "alpha": "1/flow time",
    }

    def runs(self) -> list[Run]:
        self._check()
        trials.build_problem(self.n, self.d, self.k, self.data_seed, self.noise)  # checks sizes
        digest = self.digest()
        return [
            Run({**spec, **self._sampling(stream)}, digest)
            for spec in self._specs()
            for stream in range(self._streams)
        ]

    @property
    def _streams(self) -> int:
        return 1

    def _sampling(self, stream: int) -> Row:
        return {"batch_size": None, "sgd_seed": None}

    def _specs(self) -> list[Row]:
        names = ("n", "d", "k", "noise", "data_seed", "beta", "step_size", "steps", "per")
        base = {name: getattr(self, name) for name in (*names, "loss", "l1", "record")}
        base |= {"per": 1000 if self.per is None else self.per, "l1": self.l1 or "subgradient"}
        totals, seeds = map(float, self.totals), range(self.seeds)
        grid = itertools.product(self.regularizers, self.shapes, totals, self.starts, seeds)
        specs: list[Row] = []
        for name, shape, total, start, seed in grid:
            own = {"with_flow": self.with_flow and name == "factors", "regularizer": name}
            own |= {"start": start, "shape": shape, "total": total, "seed": seed}
            specs.append(base | own)
        return specs

    def _check(self) -> None:
        self.check_common()
        whole("--seeds", self.seeds, 1, 10_000)
        whole("--steps", self.steps, 1)
        if set(self.shapes) <= {"constant"}:
            self.refuse(["per"], "shapes that decay", "--shapes is constant")
        if self.regularizers == ("factors",):
            self.refuse(
                ["l1"], "L1 regularisers", "only regularization, schedules and sgd have them"
            )
        whole("--per", 1 if self.per is None else self.per, 1)
        whole("--record", self.record, 1, 100_000)
        whole("--data-seed", self.data_seed, 0)
        number("--step-size", self.step_size, 0.0, open_low=True)
        number("--beta", self.beta, 0.0, open_low=True)
        if not self.totals or not self.shapes:
            raise InputError("--totals and --shapes must each hold at least one entry.")
        for total in self.totals:
            number("--totals", total, 0.0, 100.0)

    def batches(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Runs of one regulariser, some tens together: they share every matrix product."""
        batches: list[list[Run]] = []
        for name in REGULARIZERS:
            same = [run for run in runs if run.spec["regularizer"] == name]
            batches += [same[i : i + BATCH] for i in range(0, len(same), BATCH)]
        return batches

    compute = staticmethod(trials.compute)

    def against(self, frame: pandas.DataFrame, verdict: Verdict) -> list[str]:
        apart = flow_differences(frame)  # no other claim can be refuted
        return frame["key"][apart.index[apart.gt(FLOW_BOUND)]].tolist()

    def remarks(self, frame: pandas.DataFrame) -> list[str]:
        diverged = frame["status"].eq("diverged")
        if not diverged.any():
            return []
        first = frame[diverged].iloc[0]
        return [
            f"{int(diverged.sum())} runs diverged, the first ({NAMES[first['regularizer']]}, "
            f"{first['shape']}, A = {first['total']:g}) at step {first['diverged_at']:.0f}; "
            "use a smaller --step-size."
        ]

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        from mirrorflow import plots

        figure = getattr(plots, self.figure)(frame, paths)
        return plots.save(figure, self.out / (self.stem or self.figure))

    def summary(self, frame: pandas.DataFrame) -> Summary:
        """Mean final distance for each shape and total."""
        totals = sorted(frame["total"].unique())
        rows = []
        many = frame["start"].nunique() > 1
        for (name, start, shape), some in frame.groupby(
            ["regularizer", "start", "shape"], sort=False
        ):
            mean = some.groupby("total")["distance_end"].mean()
            label = NAMES[str(name)] + (f", {start}" if many else "")
            rows.append([label, str(shape), *(f"{mean[t]:.3g}" for t in totals)])
        headings = ["regulariser", "schedule", *(f"A={total:g}" for total in totals)]
        return Summary("‖x − x*‖₂ at the last step, by total A = Σηα", headings, rows)


def means(frame: pandas.DataFrame, column: str) -> pandas.Series:
    """Mean over initialisations (and minibatch seeds) for each configuration."""
    return frame.groupby(["regularizer", "start", "shape", "total"])[column].mean()


def best(
    frame: pandas.DataFrame, regularizer: str, constant: bool, column: str, over: str = "mean"
) -> float:
    """Smallest mean (or median) among a regulariser's constant, or decaying, schedules."""
    some = frame[frame["regularizer"].eq(regularizer)]
    some = some[some["shape"].eq("constant") == constant]
    groups = some.groupby(["start", "shape", "total"])[column]
    return float(groups.agg(over).min()) if len(some) else np.nan


def _compare(claim: str, trials: int, value: float, bound: float) -> Verdict | None:
    if np.isnan(value) or np.isnan(bound):
        return None  # one side was not asked for
    verdict = "reproduced" if value <= bound else "not reproduced"
    return Verdict(claim, trials, value, bound, verdict)


def schedule_claims(frame: pandas.DataFrame) -> list[Verdict]:
    """Figures 1b, 4, 5: which schedules win, for each regulariser, within the budget.

    By the mean over runs, as in the paper, and by the median: single initialisations that stay
    in a corner can decide a mean.
    """
    counts = frame.groupby("regularizer").size()
    table = []
    for name in [name for name in REGULARIZERS if name in counts]:
        for over in ("mean", "median"):
            constant = best(frame, name, True, "distance_end", over)
            decaying = best(frame, name, False, "distance_end", over)
            better, worse = ("decaying", decaying), ("constant", constant)
            if name != "factors":
                better, worse = worse, better
            claim = f"best {better[0]} beats best {worse[0]}, {over} in the budget"
            claim = f"{NAMES[name]}: {claim}"
            table.append(_compare(claim, int(counts[name]), better[1], worse[1]))
    return [verdict for verdict in table if verdict is not None]


def flow_differences(frame: pandas.DataFrame) -> pandas.Series:
    """How far GD ended from exact flow, relative; NaN where that says nothing."""
    rows = frame[frame["with_flow"] & frame["start"].eq("pilot")]
    apart = rows["flow_difference"].where(rows["status"].ne("diverged")).astype(float)
    # after all steps (1 − 2ηα_k)² and e^{−4ηα_k}, the decay of a step, are 4A²/steps apart at least
    coarse = apart.lt(FLOW_BOUND + 8.0 * rows["total"] ** 2 / rows["steps"])
    return apart.where(~(coarse & apart.gt(FLOW_BOUND)))


def flow_claims(frame: pandas.DataFrame) -> list[Verdict]:
    """What exact flow says: GD follows it, and its limit is where the budget does not reach."""
    apart = flow_differences(frame)
    if apart.empty:
        return []
    rows = frame.loc[apart.index]
    off, silent = int(apart.gt(FLOW_BOUND).sum()), int(apart.isna().sum())
    outcome = f"refuted in {off}" if off else f"{UNJUDGED} in {silent}" if silent else "confirmed"
    claim = "GD stays with exact flow through the budget (relative)"
    table = [Verdict(claim, len(rows), float(apart.max()), FLOW_BOUND, outcome)]
    late = rows[rows["total"].ge(4.0) & rows["shape"].ne("constant")]
    if len(late):
        value = float(late["limit_distance"].max())
        claim = "PILoT, exact limit at A ≥ 4: distance to x*"
        # what the theory does not promise: noise, or too many nonzeros, moves the limit
        verdict = "reproduced" if value <= 1e-2 else "not reproduced"
        table.append(Verdict(claim, len(late), value, 1e-2, verdict))
    constant = best(rows, "factors", True, "limit_distance")
    decaying = best(rows, "factors", False, "limit_distance")
    claim = f"{NAMES['factors']}: best decaying beats best constant, exact limit"
    limit = _compare(claim, len(rows), decaying, constant)
    return table + ([limit] if limit is not None else [])


@dataclass(frozen=True)
class Initialization(
    Descents, name="initialization", about="PILoT's against the balanced initialisation (Figure 1a)"
):
    """Figure 1a: PILoT's initialisation against the balanced one, for every penalty strength.

    Balanced factors |m₀| = |w₀| cannot change the signs of x; x* is out of reach unless they
    fit. Gradient descent on sparse recovery, x = m ⊙ w, penalty α(‖m‖² + ‖w‖²).
    """

    out: Path = Path("results/initialization")
    shapes: Shapes = ("constant", "geometric")

    regularizers: ClassVar[tuple[str, ...]] = ("factors",)
    starts: ClassVar[tuple[str, ...]] = ("pilot", "balanced")
    title: ClassVar[str] = "Figure 1a: initialisation"
    figure: ClassVar[str] = "initialization"

    def verdicts(self, frame: pandas.DataFrame) -> list[Verdict]:
        table = []
        for column, where in (("distance_end", "in the budget"), ("limit_distance", "exact limit")):
            by_start = means(frame, column).unstack("start")
            ratio = float((by_start["pilot"] / by_start["balanced"]).max())
            claim = f"PILoT ends nearer x* than balanced at every strength, {where} (ratio)"
            verdict = "reproduced" if ratio < 1.0 else "not reproduced"
            table.append(Verdict(claim, len(by_start), ratio, 1.0, verdict))
        return table + flow_claims(frame)


@dataclass(frozen=True)
class Regularization(
    Descents,
    name="regularization",
    about="the best schedule of each of three regularisers (Figure 1b)",
):
    """Figure 1b: the best schedule of each of three regularisers.

    α(‖m‖² + ‖w‖²) on x = m ⊙ w, α‖m‖₁ on x = m ⊙ w, α‖x‖₁ on x itself; gradient descent on
    sparse recovery.
    """

    out: Path = Path("results/regularization")

    title: ClassVar[str] = "Figure 1b: regularisation"
    figure: ClassVar[str] = "regularization"

    def verdicts(self, frame: pandas.DataFrame) -> list[Verdict]:
        return schedule_claims(frame) + flow_claims(frame)


@dataclass(frozen=True)
class Schedules(Descents, name="schedules", about="every schedule of each regulariser (Figure 4)"):
    """Figure 4: constant and decaying schedules of three regularisers, by gradient descent."""

    out: Path = Path("results/schedules")
    totals: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)

    title: ClassVar[str] = "Figure 4: schedules"
    figure: ClassVar[str] = "schedules"
    with_flow: ClassVar[bool] = False

    def verdicts(self, frame: pandas.DataFrame) -> list[Verdict]:
        return schedule_claims(frame)


@dataclass(frozen=True)
class Sgd(Schedules, name="sgd", about="the same by SGD (Figure 5)"):
    """Figure 5: the schedules of Figure 4 by SGD, batch size 5, 5 seeds an initialisation."""

    out: Path = Path("results/sgd")
    steps: int = 200_000
    batch: int = 5
    """Rows of each minibatch."""
    sgd_seeds: int = 5
    """Streams of minibatches for each initialisation."""

    title: ClassVar[str] = "Figure 5: SGD"
    stem: ClassVar[str] = "sgd"  # of its files

    @property
    def _streams(self) -> int:
        return self.sgd_seeds

    def _sampling(self, stream: int) -> Row:
        return {"batch_size": self.batch, "sgd_seed": stream}

    def _check(self) -> None:
        Descents._check(self)
        whole("--batch", self.batch, 1, self.n)
        whole("--sgd-seeds", self.sgd_seeds, 1, 1000)
