"""The runs of study `discrete`: descents to convergence, beside three predictions of their end."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mirrorflow.certificates import Certificate, discrete_argmin, discrete_balance, scale_cap
from mirrorflow.certificates.base import columns
from mirrorflow.checks import Array
from mirrorflow.descent import DescentPath, discrete_limit, follow_descent, predicted_gain
from mirrorflow.descent.mean_square import gram_of_gradients, stable_step_sgd
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression, gaussian_recovery, random_stream
from mirrorflow.runs.store import Row
from mirrorflow.schedules import Constant

__all__ = ["MISFIT", "compute"]

MISFIT = 1e-12  # max|Zx − y| over max|y| at which a run has converged
DECAYS = 32.0  # e-folds of the flow's slowest mode: ln(1/MISFIT) is 28
NONE = Constant(0.0)


class _Setting(NamedTuple):
    problem: Regression
    start: Factors
    flow: Interpolator  # its limit
    step_size: float  # η = 2/λ_max, times 1 − μ
    edge: float  # the method's own, in units of 2/λ_max
    condition: float  # λ_max/λ_min at the flow's limit
    gain: Array  # predicted at `step_size`
    options: dict[str, Any]


@functools.lru_cache(maxsize=32)
def _setting(
    n: int, d: int, k: int, beta: float, seed: int, momentum: float | None, batch: int | None
) -> _Setting:
    """What all step sizes of a method share on one problem."""
    problem = gaussian_recovery(n, d, k, seed)
    x0 = random_stream("discrete", "x0", seed).standard_normal(d) * d**-0.25
    start = Factors.pilot(x0, beta)
    flow = interpolator(problem, start, 0.0)
    K = gram_of_gradients(problem, flow)
    rates = np.linalg.eigvalsh(K / n)
    mu, top = momentum or 0.0, float(rates[-1])
    edge = (1.0 + mu) / (1.0 - mu)
    if batch is not None:
        edge = 0.5 * top * stable_step_sgd(K, batch)
    step_size = (1.0 - mu) * 2.0 / top
    options: dict[str, Any] = {"momentum": mu, "batch_size": batch}
    gain = predicted_gain(problem, start, NONE, step_size, **options)
    return _Setting(problem, start, flow, step_size, edge, top / float(rates[0]), gain, options)


def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
    """Every specification: one method and step size on one problem, each stream to convergence."""
    return [_run(spec) for spec in specs]


def _run(spec: Row) -> tuple[Row, dict[str, Array]]:
    names = ("n", "d", "k", "beta", "seed", "momentum", "batch_size")
    setting = _setting(*(spec[name] for name in names))
    problem, size = setting.problem, float(np.abs(setting.flow.x).max())
    streams = range(spec["streams"] or 1)
    ran = [_to_convergence(setting, spec, stream) for stream in streams]
    paths, statuses = [path for path, _ in ran], [status for _, status in ran]
    step_size = spec["ratio"] * setting.step_size
    row: Row = {
        "step_size": step_size,
        "edge": setting.edge,
        "steps_made": max(int(path.steps[-1]) for path in paths),
        "diverged": statuses.count("diverged"),
        "status": max(statuses, key=("converged", "not_converged", "diverged").index),
        "flips": int(sum(path.flips.sum() for path in paths)),
        **dict.fromkeys(("flow_distance", "predicted_distance", "discrete_distance")),
    }
    row["message"] = _message(row["status"], statuses)
    finite = [path for path, status in ran if status != "diverged"]
    checks: list[tuple[str, Certificate]] = []
    if finite:
        checks.append(("argmin", _worst([discrete_argmin(problem, path) for path in finite])))
        checks.append(("balance", _worst([discrete_balance(path) for path in finite])))
    x = np.mean([path.x[-1] for path in paths], axis=0)
    if row["status"] == "converged":
        limits = [discrete_limit(problem, path) for path in paths]
        ahead = interpolator(problem, setting.start, 0.0, gain=spec["ratio"] * setting.gain)
        apart = [path.x[-1] - limit.x for path, limit in zip(paths, limits, strict=True)]
        row["flow_distance"] = float(np.abs(x - setting.flow.x).max()) / size
        row["predicted_distance"] = float(np.abs(x - ahead.x).max()) / size
        row["discrete_distance"] = float(np.abs(apart).max()) / size
        if spec["method"] == "gd":
            checks.append(("cap", scale_cap(problem, limits[0], step_size)))
    return {**row, **columns(checks)}, {"x_end": x, "x_flow": setting.flow.x}


def _to_convergence(setting: _Setting, spec: Row, stream: int) -> tuple[DescentPath, str]:
    """A path long enough, of at most spec["steps"] steps, and how it ended."""
    problem = setting.problem
    step_size = spec["ratio"] * setting.step_size
    steps = math.ceil(DECAYS * setting.condition / (2.0 * spec["ratio"]))
    while True:
        steps = min(steps, spec["steps"])
        path = follow_descent(
            problem, setting.start, step_size, steps, seed=stream, record=1, **setting.options
        )
        if path.status != "completed":  # or outside: no gain and no shift
            return path, "diverged" if path.status == "diverged" else "not_converged"
        misfit = np.abs(problem.Z @ path.x[-1] - problem.y).max()
        if misfit <= MISFIT * np.abs(problem.y).max():
            return path, "converged"
        if steps == spec["steps"]:
            return path, "not_converged"
        steps *= 2


def _message(status: str, statuses: Sequence[str]) -> str:
    if status == "converged":
        return f"Every misfit fell to {MISFIT:g} of max|y|."
    words = "diverged" if status == "diverged" else "did not converge within --steps"
    return f"{statuses.count(status)} of {len(statuses)} runs {words}."


def _worst(checks: Sequence[Certificate]) -> Certificate:
    """The one nearest to its bound, or beyond it; one that says nothing only where all do."""
    return max(checks, key=lambda c: -1.0 if math.isnan(c.bound) else c.value / c.bound)
