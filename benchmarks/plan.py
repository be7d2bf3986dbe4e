"""Cases of the benchmark: what is measured, against whom, at which size."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import mirrorflow as mf
from benchmarks import flow_entries as flow
from benchmarks import limit_entries as limit
from benchmarks.exact import distance, exact_limit, reference_flow, reference_uncertainty
from benchmarks.large import DENSITIES, STAGES, run_stages
from benchmarks.machine import rates
from benchmarks.measure import Case, measure
from benchmarks.settings import FlowSetting, LimitSetting, starts
from mirrorflow.checks import Array
from mirrorflow.runs.store import Row

if TYPE_CHECKING:
    from mirrorflow.runs.study import Result

__all__ = ["FULL", "GROUPS", "QUICK", "Scale", "compute", "plan", "specs"]

GROUPS = ("machine", "flows", "stiff", "limits", "l1", "growth", "large")
RTOL = 1e-8
GAP = 1e-6  # relative, of minimum L1: what LASSO paths are matched at
STOP = 2.0  # flow time until which α > 0


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is; the values are those of a full measurement."""

    n: int = 40  # the default problem
    d: int = 100
    k: int = 5
    runs: int = 1000  # of `gradient_flows`
    batches: tuple[int, ...] = (200, 1000)  # of diffrax's explicit solver
    batch: int = 20  # of its implicit one and of torchdiffeq
    loop: int = 10  # starts that one-by-one integrators do in a call
    few: int = 2  # the same where one takes long
    checked: int = 5  # starts whose paths are compared with the reference
    steps: int = 20_000  # of gradient descent
    times: int = 101  # output times
    totals: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
    limit_runs: int = 200
    cone_runs: int = 4
    exact_runs: int = 2  # starts whose limits are compared with 60 digits
    l1_problems: int = 10
    grow_d: tuple[int, ...] = (100, 200, 400, 800, 1600)
    grow_n: tuple[int, ...] = (10, 20, 40, 80, 160)
    grow_n_d: int = 400  # d where n grows
    grow_runs: tuple[int, ...] = (1, 10, 100, 1000)
    grow_batch: int = 32
    large: tuple[int, int] = (500, 50_000)


FULL = Scale()
QUICK = Scale(
    n=8, d=20, k=2, runs=8, batches=(4,), batch=2, loop=2, few=1, checked=1, steps=200, times=5,
    totals=(0.0, 1.0), limit_runs=4, cone_runs=1, exact_runs=1, l1_problems=2, grow_d=(20, 40),
    grow_n=(5, 10), grow_n_d=40, grow_runs=(1, 4), grow_batch=2, large=(20, 400),
)  # fmt: skip


def specs(quick: bool) -> Iterator[Row]:
    """What tells every entry of every case apart; those of a case follow each other."""
    scale = QUICK if quick else FULL
    one = {"runs": 1, "n": scale.n, "d": scale.d}
    yield {"case": "machine", "entry": "rates", "group": "machine", **one}
    for case in plan(scale):
        for entry in case.entries:
            yield {"case": case.name, "entry": entry.name, "runs": entry.runs, **case.setting}
    one["n"], one["d"] = scale.large
    for name in DENSITIES:
        for stage in STAGES:
            yield {"case": f"large, {name}", "entry": stage, "group": "large", **one}


def compute(specs: Sequence[Row]) -> list[Result]:
    """Row and seconds of entries of one case, on one processor."""
    first = specs[0]
    scale, group = QUICK if first["scale"] == "quick" else FULL, first["group"]
    name, repetitions = first["case"], first["repetitions"]
    with _one_processor():
        if group == "machine":  # the rates that the cost model needs
            results = {"rates": ({"status": "measured", **rates(scale.n, scale.d)}, np.zeros(0))}
        elif group == "large":
            results = run_stages(*scale.large, DENSITIES[name.removeprefix("large, ")], repetitions)
        else:
            case = next(case for case in plan(scale) if case.name == name)
            results = measure(case, repetitions)
    measured = [results[spec["entry"]] for spec in specs]
    return [({"message": "", **row}, {"seconds": seconds}) for row, seconds in measured]


@contextlib.contextmanager
def _one_processor() -> Iterator[None]:
    """Pools of threads that count processors see one; JAX reads its flags when it is imported."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def plan(scale: Scale) -> Iterator[Case]:
    """All cases but the large problem, which has a process of its own (`benchmarks.large`)."""
    yield _flows(scale)
    yield _stiff(scale)
    yield _limits(scale)
    yield _l1(scale)
    yield from _grow_flows(scale)
    yield from _grow_limits(scale)


def _judge_flows(setting: FlowSetting, checked: int) -> Callable[[Array], Row]:
    """max|x − x_ref| over the first starts, all times and coordinates."""

    @functools.cache
    def reference() -> tuple[Array, float]:
        few = setting.first(checked)
        return reference_flow(few), reference_uncertainty(few)

    def judge(x: Array) -> Row:
        exact, uncertainty = reference()
        runs = min(len(x), checked)
        error = float(np.abs(x[:runs] - exact[:runs]).max())
        return {"error": error, "reference_error": uncertainty, "checked": runs}

    return judge


def _judge_limits(setting: LimitSetting, checked: int) -> Callable[[Array], Row]:
    """max|x − x₆₀| over the first starts and all totals, and max|Zx − y| over all answers."""

    @functools.cache
    def exact(run: int, total: float) -> list:
        start = mf.interpolator(setting.problem, setting.factors[run], total).dual
        return exact_limit(setting.problem, setting.factors[run], total, start)

    def judge(x: Array) -> Row:
        runs = min(len(x), checked)
        errors = [
            distance(x[run, i], exact(run, total))
            for run in range(runs)
            for i, total in enumerate(setting.totals)
        ]
        residual = np.abs(x @ setting.problem.Z.T - setting.problem.y).max()
        return {"error": max(errors), "residual": float(residual), "checked": runs}

    return judge


def _flows(scale: Scale) -> Case:
    problem = mf.gaussian_recovery(scale.n, scale.d, scale.k, 0)
    times = np.linspace(0.0, 400.0, scale.times)
    all_starts = starts(scale.d, max(scale.runs, *scale.batches))
    setting = FlowSetting(problem, all_starts, mf.Constant(0.0), times, RTOL)
    entries = [flow.ours(setting.first(scale.runs)), flow.ours_single(setting.first(scale.loop))]
    for runs in scale.batches:
        entries += [
            flow.diffrax_flows(setting.first(runs), coordinates, "Tsit5")
            for coordinates in flow.FIELDS
        ]
    for coordinates, runs in zip(flow.FIELDS, (scale.few, scale.batch), strict=True):
        entries.append(flow.diffrax_flows(setting.first(runs), coordinates, "Kvaerno5"))
    entries += _scipy(setting, scale)
    entries += [flow.torchdiffeq_flows(setting.first(runs)) for runs in (1, scale.batch)]
    entries.append(flow.descent(setting, scale.steps))
    return Case("flows", _facts(setting), entries, _judge_flows(setting, scale.checked))


def _stiff(scale: Scale) -> Case:
    problem = mf.gaussian_recovery(scale.n, scale.d, scale.k, 0)
    middle = np.geomspace(2 * STOP, 1e6, max(scale.times // 5, 2))
    times = np.concatenate([[0.0, STOP / 4, STOP / 2, STOP], middle])
    schedule = mf.Constant.from_total(2.0, STOP)
    setting = FlowSetting(problem, starts(scale.d, scale.runs), schedule, times, RTOL)
    entries = [flow.ours(setting), flow.ours_single(setting.first(scale.loop))]
    entries += _scipy(setting, scale)
    for coordinates, runs in zip(flow.FIELDS, (scale.few, scale.batch), strict=True):
        entries.append(flow.diffrax_flows(setting.first(runs), coordinates, "Kvaerno5"))
    return Case("stiff", _facts(setting), entries, _judge_flows(setting, scale.checked))


def _scipy(setting: FlowSetting, scale: Scale) -> list:
    loop, few = setting.first(scale.loop), setting.first(scale.few)
    return [
        flow.scipy_flows(few if "Radau" in method else loop, coordinates, method)
        for method in ("LSODA", "odeint, Jacobian", "Radau, Jacobian")
        for coordinates in flow.FIELDS
    ] + [flow.compiled_odeint(loop)]


def _limits(scale: Scale) -> Case:
    problem = mf.gaussian_recovery(scale.n, scale.d, scale.k, 0)
    setting = LimitSetting(problem, starts(scale.d, scale.limit_runs), scale.totals)
    few = setting.first(scale.cone_runs)
    entries = [limit.ours(setting), limit.ours_single(few)]
    entries += [limit.cone(few, solver) for solver in limit.OPTIONS]
    facts = {"group": "limits", "n": scale.n, "d": scale.d, "totals": str(list(scale.totals))}
    return Case("limits", facts, entries, _judge_limits(setting, scale.exact_runs))


def _l1(scale: Scale) -> Case:
    """Sparse recovery: x* is the one minimum-L1 solution, so the error is known exactly."""
    problems = [
        mf.gaussian_recovery(scale.n, scale.d, scale.k, seed) for seed in range(scale.l1_problems)
    ]
    factors = starts(scale.d, 1)[0]

    def judge(x: Array) -> Row:
        truth = np.array([problem.x_true for problem in problems])
        gaps = [l1_gap(problem, one) for problem, one in zip(problems, x, strict=True)]
        return {"error": float(np.abs(x - truth).max()), "gap": max(gaps)}

    entries = [
        limit.ours_l1(problems, factors),
        *(limit.minimum_l1(problems, through) for through in ("cvxpy", "linprog")),
        *(limit.lasso_path(problems, s, l1_gap, GAP) for s in ("celer", "scikit-learn")),
    ]
    facts = {"group": "l1", "n": scale.n, "d": scale.d, "totals": "[inf]"}
    return Case("l1", facts, entries, judge)


def l1_gap(problem: mf.Regression, x: Array) -> float:
    """(‖x̂‖₁ − ‖x*‖₁)/‖x*‖₁ for x̂, x moved to the nearest point of {Zx = y}; x* as constructed."""
    step, _, _, _ = np.linalg.lstsq(problem.Z, problem.y - problem.Z @ x, rcond=None)
    least = float(np.abs(problem.x_true).sum())
    return abs(float(np.abs(x + step).sum()) - least) / least


def _grow_flows(scale: Scale) -> Iterator[Case]:
    n, d, k, batch = scale.n, scale.d, scale.k, scale.grow_batch
    shapes = [("d", size, n, size, batch) for size in scale.grow_d]
    shapes += [("n", size, size, scale.grow_n_d, batch) for size in scale.grow_n]
    shapes += [("runs", runs, n, d, runs) for runs in scale.grow_runs]
    for axis, value, n, d, runs in shapes:
        problem = mf.gaussian_recovery(n, d, k, 0)
        # eigenvalues grow like d: the same number of steps, about
        times = np.linspace(0.0, 4e4 / d, 11)
        setting = FlowSetting(problem, starts(d, runs), mf.Constant(0.0), times, RTOL)
        few = setting.first(min(runs, scale.few))
        entries = [flow.ours(setting)]
        entries += [flow.diffrax_flows(setting, form, "Tsit5") for form in flow.FIELDS]
        entries += [flow.scipy_flows(few, "dual", "odeint, Jacobian")]
        facts = {**_facts(setting), "group": "growth", "axis": axis, "value": value}
        yield Case(f"flow, {axis} = {value}", facts, entries, _judge_flows(setting, 1))
    problem = mf.gaussian_recovery(scale.n, scale.d, k, 0)
    times = np.concatenate([np.linspace(0.0, STOP, 3), np.geomspace(2 * STOP, 1e4, 8)])
    for total in scale.totals:
        schedule = mf.Constant.from_total(total, STOP)
        setting = FlowSetting(problem, starts(scale.d, batch), schedule, times, RTOL)
        few = setting.first(scale.few)
        entries = [flow.ours(setting)]
        entries += [flow.scipy_flows(few, form, "odeint, Jacobian") for form in flow.FIELDS]
        facts = {**_facts(setting), "group": "growth", "axis": "A", "value": total}
        yield Case(f"flow, A = {total:g}", facts, entries, _judge_flows(setting, 1))


def _grow_limits(scale: Scale) -> Iterator[Case]:
    n, d, batch = scale.n, scale.d, scale.grow_batch
    shapes = [("d", size, n, size, batch, 1.0) for size in scale.grow_d]
    shapes += [("n", size, size, scale.grow_n_d, batch, 1.0) for size in scale.grow_n]
    shapes += [("runs", runs, n, d, runs, 1.0) for runs in scale.grow_runs]
    shapes += [("A", total, n, d, batch, total) for total in scale.totals]
    for axis, value, n, d, runs, total in shapes:
        problem = mf.gaussian_recovery(n, d, scale.k, 0)
        setting = LimitSetting(problem, starts(d, runs), (total,))
        entries = [limit.ours(setting), limit.cone(setting.first(1), "Clarabel")]
        facts = {"group": "growth", "axis": axis, "value": float(value)}
        facts |= {"n": n, "d": d, "totals": str([total])}

        def judge(x: Array, setting: LimitSetting = setting) -> Row:
            # 60 digits for every size would take hours: the residual must do
            residual = np.abs(x @ setting.problem.Z.T - setting.problem.y).max()
            return {"residual": float(residual)}

        yield Case(f"limit, {axis} = {value:g}", facts, entries, judge)


def _facts(setting: FlowSetting) -> Row:
    end = float(setting.times[-1])
    return {
        "group": "flows" if setting.schedule.strength == 0 else "stiff",
        "n": setting.problem.n,
        "d": setting.problem.d,
        "totals": str([setting.schedule.total_infinity]),
        "rtol": setting.rtol,
        "end": end,
        "times": setting.times.size,
    }
