"""The runs of the studies of descents: a batch of descents, and exact flow beside them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.descent import descend
from mirrorflow.flows import gradient_flow
from mirrorflow.limits import interpolator, lasso_limit
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression, gaussian_recovery, random_stream
from mirrorflow.runs.store import Row
from mirrorflow.schedules import Constant, Piecewise, Schedule
from mirrorflow.stepwise import Stepwise

__all__ = ["build_problem", "compute", "start_factors"]


@functools.lru_cache(maxsize=4)
def build_problem(n: int, d: int, k: int, seed: int, noise: float) -> Regression:
    return gaussian_recovery(n, d, k, seed, noise)


def start_factors(spec: Row, problem: Regression) -> Factors:
    """m₀, w₀ of a run: both kinds of start share x₀."""
    x0 = random_stream("descents", "x0", spec["seed"]).standard_normal(problem.d)
    x0 *= problem.d**-0.25
    return Factors.balanced(x0) if spec["start"] == "balanced" else Factors.pilot(x0, spec["beta"])


def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
    """All specifications of a batch at once; they share problem, step size and regulariser."""
    first = specs[0]
    problem = build_problem(first["n"], first["d"], first["k"], first["data_seed"], first["noise"])
    starts = [start_factors(spec, problem) for spec in specs]
    schedules = [
        Stepwise.from_total(s["shape"], s["total"], s["steps"], s["step_size"], per=s["per"])
        for s in specs
    ]
    run = descend(
        problem,
        starts,
        schedules,
        first["step_size"],
        first["steps"],
        batch_size=first["batch_size"],
        seed=[_stream(spec) for spec in specs],
        regularizer=first["regularizer"],
        record=first["record"],
        loss=first["loss"],
        l1=first["l1"],
    )
    assert run.distance is not None  # the generator knows x*
    results = []
    for i, (spec, start, schedule) in enumerate(zip(specs, starts, schedules, strict=True)):
        diverged = run.status[i] == "diverged"
        row: Row = {
            "alpha": schedule.strength,
            "total_spent": float(run.total[i, -1]),
            "status": run.status[i],
            "message": run.message[i],
            "diverged_at": int(run.diverged_at[i]) if diverged else None,
            "distance_end": float(run.distance[i, -1]),
            "distance_least": float(run.distance[i].min()),
            "loss_end": float(run.loss[i, -1]),
            "total_effective": None,
            "scale_effective": None,
            "flow_distance": None,
            "flow_difference": None,
            "limit_distance": None,
            "limit_status": None,
        }
        if spec["regularizer"] == "factors" and not diverged:
            row |= _effective(start, run.gain[i, -1])
        if spec["with_flow"]:
            row |= _exact(problem, start, schedule, spec, run.x[i, -1])
        paths = {"steps": run.steps, "distance": run.distance[i], "total": run.total[i]}
        results.append((row, paths))
    return results


def _stream(spec: Row) -> int:
    # every (initialisation, minibatch seed) has minibatches of its own; schedules share them
    return 0 if spec["sgd_seed"] is None else spec["seed"] * 100_003 + spec["sgd_seed"]


def _effective(start: Factors, gain: Array) -> Row:
    """Medians of a_K and of ¼ log(a₀/a_K), A as decay, steps and noise spent it."""
    scale = 0.5 * np.abs(start.imbalance)
    if scale.min() == 0.0:  # balanced factors have a = 0 from the start
        return {"total_effective": None, "scale_effective": float(np.median(scale))}
    last = float(np.median(scale * np.exp(-gain)))
    return {"total_effective": float(np.median(gain)) / 4.0, "scale_effective": last}


def _exact(problem: Regression, start: Factors, schedule: Stepwise, spec: Row, x_end: Array) -> Row:
    """Exact flow under the same α, at the budget's time and at its limit.

    Gradient descent on c·f with penalty α is a scheme for the flow of f with penalty α/c in
    time c·ηk; c = 2 for the paper's mean-squared error.
    """
    assert problem.x_true is not None
    scale = 2.0 if spec["loss"] == "mse" else 1.0
    end = scale * spec["step_size"] * spec["steps"]
    flow = gradient_flow(problem, start, _continuous(schedule, spec, scale, end), [end])
    if schedule.shape == "constant" and schedule.strength > 0:
        limit = lasso_limit(problem, start, schedule.strength / scale)
    else:
        limit = interpolator(problem, start, spec["total"])
    x = flow.x[-1] if flow.success else np.full(problem.d, np.nan)  # it stopped elsewhere
    return {
        "flow_distance": float(np.linalg.norm(x - problem.x_true)),
        "flow_difference": float(np.abs(x - x_end).max()) / float(np.abs(x).max()),
        "limit_distance": float(np.linalg.norm(limit.x - problem.x_true)),
        "limit_status": limit.status,
    }


def _continuous(schedule: Stepwise, spec: Row, scale: float, end: float) -> Schedule:
    """α of the steps as a piecewise constant function of flow time."""
    if schedule.shape == "constant":
        return Constant(schedule.strength / scale)
    starts = np.arange(0, spec["steps"], spec["per"])
    return Piecewise(starts * spec["step_size"] * scale, schedule.alpha(starts + 1) / scale)
