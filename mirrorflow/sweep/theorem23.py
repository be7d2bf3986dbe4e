"""Study `theorem23`: does the flow end where Theorem 2.3 says, and how it gets there."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from mirrorflow.checks import Array, InputError, number, whole
from mirrorflow.claims.registry import statement
from mirrorflow.flows import RTOL_RANGE
from mirrorflow.limits import interpolator
from mirrorflow.maps import check_pair
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.runs.store import Row, Run
from mirrorflow.runs.study import Verdict, described
from mirrorflow.runs.untrusted import naming
from mirrorflow.sweep import theorem23_trials as trials
from mirrorflow.sweep.table import Judged, unjudged_trials
from mirrorflow.sweep.theorem23_trials import LATEST, NOT_ARRIVED

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

__all__ = ["Theorem23"]

LARGEST_TOTAL = 20.0  # beyond it (m, w) in double precision lose what Theorem 2.1 speaks of
BETAS = (1e-6, 1e6)  # likewise

ENDINGS = ("convergence", "following", "convergence_nearest")  # judge where a flow ends

# the flags that a problem has, and what they are if not given; the slowest problem first
PROBLEMS: dict[str, Row] = {
    "diabetes": {"n": 60, "degree": 4, "data_seed": 0},
    "gaussian": {"n": 40, "d": 100, "k": 5, "noise": 0.0, "data_seed": 0},
    "digits": {"n": 40, "digit": 0, "data_seed": 0},
}
START: Row = {"seeds": 5, "beta": 1.0, "transition_betas": (0.01, 100.0)}  # unless a file has one
UNEVEN = 100.0  # ratio of the columns' scales that is worth a sentence
NAMED = 10  # features in a sentence

ProblemName = Literal["gaussian", "diabetes", "digits", "all"]
ScheduleName = Literal["constant", "quadratic", "geometric", "harmonic"]


@dataclass(frozen=True)
class Theorem23(
    Judged, name="theorem23", about="Theorem 2.3 on real and synthetic regressions (the default)"
):
    """Simulate gradient flow under m ⊙ w and compare it with Theorem 2.3's limit.

    The flow minimises 1/(2n)‖Zx − y‖² + α(t)(‖m‖² + ‖w‖²) with x = m ⊙ w from the PILoT
    initialisation m₀ ⊙ w₀ = x₀ ~ N(0, I/√d), m₀² − w₀² = β.
    """

    problem: Annotated[ProblemName | None, described("all")] = None
    """Which regression: Gaussian sparse recovery, monomials of the diabetes data, compressed
    sensing of a digit, or all three."""
    data: Path | None = None
    """A file instead: .npz with Z (n, d) and y (n,), perhaps x_true, m0, w0 (d,) and names (d,);
    or .csv with a header and a column y."""
    target: Annotated[str | None, described("y")] = None
    """The column of a .csv that is y."""
    standardize: bool = False
    """Centre y and the columns of --data, and divide each column by its root mean square."""
    n: Annotated[int | None, described("40; 60 for diabetes")] = None
    """Samples (rows of Z)."""
    d: Annotated[int | None, described("100")] = None
    """Features (columns of Z) of the Gaussian problem."""
    k: Annotated[int | None, described("5")] = None
    """Nonzeros (±1) of the Gaussian problem's x*."""
    noise: Annotated[float | None, described("0")] = None
    """Standard deviation of the noise in the Gaussian problem's y, in units of y."""
    degree: Annotated[int | None, described("4")] = None
    """Highest degree of the diabetes problem's monomials (10, 65, 285, 1000 features)."""
    digit: Annotated[int | None, described("0")] = None
    """Which of the 1797 digit images to sense."""
    data_seed: Annotated[int | None, described("0")] = None
    """Seed of the drawn Z, x*, noise and patients."""
    seeds: Annotated[int | None, described("5")] = None
    """Number of initialisations x₀."""
    beta: Annotated[float | None, described("1")] = None
    """β = m₀² − w₀², in units of x."""
    transition_betas: Annotated[tuple[float, ...] | None, described("0.01 100")] = None
    """Further β (first initialisation, constant schedule) for the L2→L1 panel."""
    totals: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
    """Totals A = ∫α, no unit; each schedule's strength α is set to reach it."""
    schedules: tuple[ScheduleName, ...] = ("constant", "quadratic", "geometric", "harmonic")
    """Schedules: constant until --timescale; α/(1+t/τ)²; α·exp(−t/τ); α/(1+t/τ), whose ∫α is
    infinite and which reaches the largest of --totals at the end time."""
    timescale: float = 10.0
    """τ of the schedules, in flow time."""
    t_end: Annotated[float | None, described("so that every mode has settled, at most 1e9")] = None
    """End time, in flow time; 40 times the slowest mode's time constant after the penalty has
    faded where it is not given."""
    rtol: float = 1e-8
    """Relative tolerance of the integrators, per step."""
    out: Path = Path("results/theorem23")

    groups: ClassVar[Mapping[str, str]] = {
        "problem": "problem",
        "seeds": "start",
        "totals": "penalty",
        "t_end": "integration",
    }
    title: ClassVar[str] = "Theorem 2.3 and what it rests on"
    note: ClassVar[str] = (
        "Worst: the trial with the largest value/bound. Values are relative; paths and limits "
        "are judged from integrated (m, w)."
    )
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("timescale", "t_end_asked", "t_end"), "flow time"),
        **dict.fromkeys(("beta", "scale_a", "norm1_end", "norm2_limit"), "units of x"),
        **dict.fromkeys(("distance_to_truth", "distance_to_limit"), "units of x"),
        **dict.fromkeys(("distance_to_min_l1", "distance_to_min_l2"), "units of x"),
        **dict.fromkeys(("limit_to_min_l1", "limit_to_min_l2"), "units of x"),
        "slowest_rate": "1/flow time",
        "noise": "units of y",
        "loss_end": "units of y²",
    }
    claims: ClassVar[Mapping[str, str]] = {
        "invariant": statement("invariant"),
        "mirror_flow": "∇R_a(x) stays in the row space of Z (2.1)",
        **{key: statement(key) for key in ("path_difference", "finite_time")},
        **{key: statement(key) for key in ("arrival", "convergence")},
        "following": statement("harmonic_following"),
        "arrival_nearest": "no x with Zx = y: Zx → the nearest to y",
        "convergence_nearest": statement("inconsistent"),
        **{key: statement(key) for key in ("optimality", "agreement", "l1_excess")},
        "l1_at_infinity": statement("harmonic_l1"),
    }

    def runs(self) -> list[Run]:
        """Every run of this configuration, the slowest problems first.

        Raises
        ------
        InputError
            If a value breaks its rule or a file can't be used.
        """
        self._check()
        digest, runs = self.digest(), []
        for base in self._problems():
            # refuse bad input before the first run starts
            problem = trials.build_problem(trials.problem_key(base))
            from_file = base["data"] is not None and self._start_in_file(problem)
            for seed in range(1 if from_file else self._of_start("seeds")):
                start: Row = {**base, "seed": seed}
                start["beta"] = None if from_file else self._of_start("beta")
                runs += [self._run(start, name, total) for name, total in self._cases()]
                if seed == 0 and not from_file:
                    runs += [
                        self._run({**start, "beta": beta}, "constant", total)
                        for beta in self._of_start("transition_betas")
                        for total in self.totals
                    ]
        return [Run(spec, digest) for spec in runs]

    def _start_in_file(self, problem: Regression) -> bool:
        """Whether --data holds m0 and w0, which make the flags of drawn starts void."""
        scales = problem.scales()
        least, most = int(np.argmin(np.where(scales > 0, scales, np.inf))), int(np.argmax(scales))
        if scales[most] > UNEVEN * scales[least]:
            ends = (f"{problem.label(j)} ({scales[j]:.2g})" for j in (least, most))
            warnings.warn(
                f"the columns' scales run from {' to '.join(ends)}: such flows are stiff and take "
                "long; --standardize brings all columns to one scale.",
                stacklevel=2,
            )
        given = Factors.load(str(self.data))
        if given is not None:
            with naming(str(self.data)):
                check_pair(problem, given)
            holds = f"{self.data} holds m0 and w0"
            self.refuse((*START, "standardize"), "starts that are drawn", holds)
        return given is not None

    def _of_start(self, flag: str) -> Any:
        given = getattr(self, flag)
        return START[flag] if given is None else given

    def _cases(self) -> list[tuple[str, float]]:
        """(schedule, total): without a penalty all schedules are one."""
        cases: list[tuple[str, float]] = []
        for total in self.totals:
            fading = [name for name in self.schedules if name != "harmonic"]
            cases += [(name, total) for name in (fading if total > 0 else ["constant"])]
        if "harmonic" in self.schedules and max(self.totals) > 0:
            cases.append(("harmonic", max(self.totals)))
        return cases

    def _run(self, start: Row, schedule: str, total: float) -> Row:
        # the entropic program by cvxpy is slow: one initialisation per total
        usual = start["beta"] in (self._of_start("beta"), None)
        check = start["seed"] == 0 and schedule == "constant" and usual
        return {
            **start,
            "schedule": schedule,
            "total": float(total),
            "timescale": self.timescale,
            "t_end_asked": self.t_end,
            "rtol": self.rtol,
            "cvxpy_check": check,
        }

    def _problems(self) -> list[Row]:
        """The columns of each problem, those of the others empty."""
        blank = dict.fromkeys(("n", "d", "k", "noise", "degree", "digit"))
        blank = {"study": "theorem23", "data": None, "data_sha256": None, **blank, "data_seed": 0}
        if self.data is not None:
            path = self.data.resolve()
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            row = {**blank, "problem": path.stem, "data": str(path), "data_sha256": digest}
            flags = {"target": self.target, "standardize": self.standardize or None}
            # a part of the key where they are given
            return [row | {flag: value for flag, value in flags.items() if value is not None}]
        return [
            {**blank, "problem": name}
            | {f: v if getattr(self, f) is None else getattr(self, f) for f, v in flags.items()}
            for name, flags in PROBLEMS.items()
            if self.problem in (name, "all", None)
        ]

    compute = staticmethod(trials.compute)

    def remarks(self, frame: pandas.DataFrame) -> list[str]:
        remarks = unjudged_trials(self.claims, frame)
        for _, some in frame[frame["limit_status"].ne("converged")].groupby("limit_status"):
            remarks.append(f"{len(some)} runs: limit {some['message'].iloc[0]}")
        stopped = frame["flow_status"].ne("completed")
        lost = frame["signs_lost"].astype(bool)
        if lost.any():
            remarks.append(
                f"{int(lost.sum())} flows: rounding let balanced coordinates of integrated (m, w) "
                "change sign, which exact arithmetic forbids; no verdict from these paths."
            )
        judged = frame[[n for n in ENDINGS if n in frame]].notna().any(axis=1)
        waiting = ~stopped & ~lost & ~judged
        if waiting.any():
            remarks.append(
                f"{int(waiting.sum())} flows had not come within {NOT_ARRIVED:.0%} of their limit "
                "at the end time; their verdict is the one at finite time."
            )
        if stopped.any():
            remarks.append(
                f"{int(stopped.sum())} flows stopped early and are judged as far as they came: "
                f"{frame['message'][stopped].iloc[0]}"
            )
        return remarks

    def _selected(self) -> str:
        """The features of --data that the minimum-L1 point has, the largest first."""
        problem = self._own_problem()
        limit = interpolator(problem, Factors.pilot(np.zeros(problem.d)), np.inf)
        if limit.status == "not_converged":
            return f"No feature is named: minimum L1 was not found. {limit.message}"
        # where columns' scales differ much, entries as small as this fit the rounding of y
        rounding = 1e-13 * math.sqrt(float(np.mean(problem.y**2)))
        x = np.where(np.abs(limit.x) * problem.scales() > rounding, limit.x, 0.0)
        if not (count := np.count_nonzero(x)):
            return "No feature is selected: the minimum-L1 point is 0."
        more = f" and {count - NAMED} more" if count > NAMED else ""
        names = problem.leading(x, NAMED)
        return f"Minimum L1 selects {count} of {problem.d} features: {names}{more}."

    def _own_problem(self) -> Regression:
        return trials.build_problem(trials.problem_key(self._problems()[0]))

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        """theorem23.png/.pdf for the first of gaussian, digits, diabetes, and one a problem."""
        from mirrorflow import plots

        order = ["gaussian", "digits", "diabetes"]
        names = frame["problem"].unique()
        files = []
        for i, name in enumerate(sorted(names, key=lambda n: order.index(n) if n in order else -1)):
            figure = plots.theorem23(frame[frame["problem"] == name], paths, self._of_start("beta"))
            stem = "theorem23" if i == 0 else f"theorem23_{name}"
            files += plots.save(figure, self.out / stem)
        return files

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        """As every study; of --data also what is selected, and the names by which x is ordered."""
        conclusions = super().show(console, frame, verdicts)
        if self.data is None:
            return conclusions
        conclusions["remarks"].append(selected := self._selected())
        console.print(selected, highlight=False)
        names = self._own_problem().names
        return conclusions if names is None else {**conclusions, "features": list(names)}

    def _check(self) -> None:
        self.check_common()
        self._check_flags()
        if self.n is not None:
            whole("--n", self.n, 1)
        whole("--seeds", self._of_start("seeds"), 1, 10_000)
        whole("--data-seed", self.data_seed or 0, 0)
        number("--beta", self._of_start("beta"), *BETAS)
        for beta in self._of_start("transition_betas"):
            number("--transition-betas", beta, *BETAS)
        if not self.totals or not self.schedules:
            raise InputError("--totals and --schedules must each hold at least one entry.")
        for total in self.totals:
            number("--totals", total, 0.0, LARGEST_TOTAL)
        number("--timescale", self.timescale, 0.01, 1e9)
        if self.t_end is not None:
            number("--t-end", self.t_end, 1e-6, LATEST)
        number("--rtol", self.rtol, *RTOL_RANGE)

    def _check_flags(self) -> None:
        """Refuse flags that the chosen problem does not have."""
        if self.data is not None:
            names = ("problem", *(flag for flags in PROBLEMS.values() for flag in flags))
            self.refuse(names, "problems that are drawn", "the problem is the file of --data")
        else:
            self.refuse(("target", "standardize"), "--data", "no file is given")
        if self.problem in PROBLEMS:
            for name, flags in PROBLEMS.items():
                other = [flag for flag in flags if flag not in PROBLEMS[self.problem]]
                self.refuse(other, f"--problem {name}", f"--problem is {self.problem}")
