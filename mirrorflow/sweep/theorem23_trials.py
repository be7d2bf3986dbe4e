"""The runs of study `theorem23`: the flow twice, its limit, and what the certificates say."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow import references
from mirrorflow.checks import Array, InputError
from mirrorflow.flows import Flow, direct_flow, gradient_flow
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.problems import (
    Regression,
    diabetes,
    digits_sensing,
    gaussian_recovery,
    load,
    random_stream,
)
from mirrorflow.runs.store import Row
from mirrorflow.schedules import Constant, Geometric, Harmonic, Quadratic, Schedule

__all__ = ["LATEST", "NOT_ARRIVED", "build_problem", "compute", "problem_key", "start_factors"]

LATEST = 1e9  # flow time; slower modes than 40/LATEST get their verdict at finite time
OUTPUT_TIMES = 81
NOT_ARRIVED = 1e-2  # relative; a bound on the distance above it says nothing about the limit

Key = tuple[tuple[str, Any], ...]


def problem_key(row: Row) -> Key:
    """What of a run's row names its regression."""
    names = ("problem", "data", "data_sha256", "n", "d", "k", "noise", "degree", "digit")
    given = ("target", "standardize")  # of a file, where they are given
    return tuple((name, row.get(name)) for name in (*names, "data_seed", *given))


@functools.lru_cache(maxsize=8)
def _from_file(
    path: str, sha256: str | None, target: str | None, standardize: bool | None
) -> tuple[Regression, Factors | None]:
    """What a file holds, which must be the one that the run's row names."""
    problem, factors = load(path, target), Factors.load(path)
    if hashlib.sha256(Path(path).read_bytes()).hexdigest() != sha256:
        raise InputError(
            f"--data {path} must not change while the sweep runs, but its SHA-256 is no longer "
            f"{sha256}."
        )
    return problem.standardized() if standardize else problem, factors


def _named_file(row: Row) -> tuple[Regression, Factors | None]:
    names = ("data", "data_sha256", "target", "standardize")
    return _from_file(*(row.get(name) for name in names))


@functools.lru_cache(maxsize=8)
def build_problem(key: Key) -> Regression:
    """The regression that a run's row names; a process makes each one once."""
    row = dict(key)
    if row["data"]:
        return _named_file(row)[0]
    seed = row["data_seed"]
    match row["problem"]:
        case "diabetes":
            return diabetes(row["degree"], row["n"], seed)
        case "digits":
            return digits_sensing(row["digit"], row["n"], seed)
    return gaussian_recovery(row["n"], row["d"], row["k"], seed, row["noise"])


@functools.lru_cache(maxsize=8)
def _sparsest(key: Key) -> tuple[references.Reference, float]:
    """cvxpy's minimum-L1 interpolator and its margin."""
    problem = build_problem(key)
    best = references.min_l1(problem)
    return best, certify.margin(problem, best.x) if best.success else 0.0


def start_factors(row: Row, problem: Regression) -> Factors:
    """m₀, w₀ of a run: from its file, or PILoT's from x₀ ~ N(0, I/√d) (variance 1/√d)."""
    if row["data"] and row["beta"] is None:
        loaded = _named_file(row)[1]
        if loaded is not None:
            return loaded
    stream = random_stream("theorem23", "x0", row["problem"], row["seed"])
    x0 = stream.standard_normal(problem.d) * problem.d**-0.25
    return Factors.pilot(x0, row["beta"])


def build_schedule(name: str, total: float, timescale: float, end: float) -> Schedule:
    """The schedule with A_∞ = `total` (harmonic: A(`end`) = `total`)."""
    match name:
        case "constant":
            return Constant.from_total(total, timescale)
        case "quadratic":
            return Quadratic.from_total(total, timescale)
        case "geometric":
            return Geometric.from_total(total, math.exp(-1.0 / timescale))
    return Harmonic.from_total(total, timescale, end)


def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
    """The runs that the rows name; a process makes each of their problems once."""
    return [_run(row) for row in specs]


def _run(row: Row) -> tuple[Row, dict[str, Array]]:
    problem, clock = build_problem(problem_key(row)), _Clock()
    factors, rtol = start_factors(row, problem), row["rtol"]
    limit = interpolator(problem, factors, row["total"])
    rate = certify.slowest_rate(problem, limit)
    schedule, times = _until_arrival(row, rate)
    clock.lap("limit_seconds")
    dual = gradient_flow(problem, factors, schedule, times, rtol)
    clock.lap("dual_flow_seconds")
    direct = direct_flow(problem, factors, schedule, times, rtol)
    clock.lap("direct_flow_seconds")
    total, (best, best_margin) = row["total"], _sparsest(problem_key(row))
    potential = HyperbolicEntropy.of(factors, total)
    nearest = _nearest(problem, potential.minimizer)
    entropic = references.min_potential(problem, factors, total) if row["cvxpy_check"] else None
    clock.lap("reference_seconds")

    checks = _certificates(row, problem, factors, schedule, limit, dual, direct)
    # where signs forbid every interpolator there is nothing for cvxpy to agree with
    reached = limit.status in ("converged", "inconsistent")
    if entropic is not None and reached:
        checks.append(certify.agreement(limit, entropic, potential))
    # balanced coordinates keep their signs: their minimum L1 norm may be another one
    free = bool(np.isfinite(potential.log_a).all())
    if free and reached and total > 0:
        checks.append(certify.l1_excess(limit, best, total))
    if row["schedule"] == "harmonic" and reached and free:
        endless = interpolator(problem, factors, math.inf)
        checks.append(certify.l1_excess(endless, best, math.inf))
    clock.lap("certificates_seconds")

    x = direct.x[-1]
    truth = problem.x_true
    stopped = [
        f"{name}: {flow.message}"
        for name, flow in (("dual flow", dual), ("integrated (m, w)", direct))
        if not flow.success
    ]
    result: Row = {
        "features": problem.d,
        "samples": problem.n,
        "scale_a": float(np.exp(np.median(potential.log_a))),
        "t_end": float(times[-1]),
        "slowest_rate": rate,
        "margin": best_margin,
        "status": "completed",
        "message": " ".join([f"{limit.status}: {limit.message}", *stopped]),
        "flow_status": "stopped early" if stopped else "completed",
        "limit_status": limit.status,
        "signs_lost": signs_lost(factors, certify.invariant(factors, direct, row["rtol"])),
        "limit_factorizations": limit.iterations,
        "dual_right_hand_sides": dual.right_hand_sides,
        "direct_steps": direct.steps,
        "loss_end": float(direct.loss[-1]),
        "norm1_end": float(np.abs(x).sum()),
        "distance_to_truth": None if truth is None else _distance(x, truth),
        "distance_to_limit": _distance(x, limit.x),
        "distance_to_min_l1": _distance(x, best.x),
        "distance_to_min_l2": _distance(x, nearest),
        "limit_to_min_l1": _distance(limit.x, best.x),
        "limit_to_min_l2": _distance(limit.x, nearest),
        "norm2_limit": float(np.linalg.norm(limit.x)),
        **clock.laps,
    }
    if problem.names is not None:
        result["largest_features"] = problem.leading(limit.x)
    result |= certify.columns((check.name, check) for check in checks)
    goal = best.x if truth is None else truth
    paths = {
        "times": dual.times,
        "distance": np.linalg.norm(dual.x - goal, axis=1),
        "loss": dual.loss,
        "total": dual.total,
        "x_end": x,
        "x_limit": limit.x,
        "x_min_l1": best.x,
    }
    return result, paths


def _until_arrival(row: Row, rate: float) -> tuple[Schedule, Array]:
    """The schedule, and times to the end asked for or 40 units of the slowest mode after it."""
    end = row["t_end_asked"]
    if end is None:
        end = min(row["timescale"] + 40.0 / rate, LATEST) if rate > 0 else LATEST
    schedule = build_schedule(row["schedule"], row["total"], row["timescale"], end)
    return schedule, np.concatenate(
        [[0.0], np.geomspace(min(1e-3, end / 2), end, OUTPUT_TIMES - 1)]
    )


def _certificates(
    row: Row,
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    limit: Interpolator,
    dual: Flow,
    direct: Flow,
) -> list[certify.Certificate]:
    rtol, total = row["rtol"], row["total"]
    kept = certify.invariant(factors, direct, rtol)
    proof = certify.optimality(problem, limit, total)
    if signs_lost(factors, kept):
        return [proof]
    checks = [
        kept,
        certify.mirror_flow(problem, factors, direct, rtol),
        certify.path_difference(dual, direct, rtol),
        certify.finite_time(problem, factors, direct, rtol),
        proof,
    ]
    if direct.success:
        arrival = certify.arrival(problem, limit, schedule, direct, rtol)
        ending = certify.convergence(problem, limit, schedule, direct, rtol)
        named = [("arrival", arrival), ("convergence", ending)]
        if limit.status in ("inconsistent", "no_interpolator_in_sign_cone"):
            named = [(f"{name}_nearest", check) for name, check in named]
        elif row["schedule"] == "harmonic":
            named[1] = ("following", ending)
        # a larger bound says that the flow is still under way: finite_time judges it
        checks += [
            dataclasses.replace(check, name=name)
            for name, check in named
            if name == "following" or not check.bound > NOT_ARRIVED
        ]
    return checks


def signs_lost(factors: Factors, invariant: certify.Certificate) -> bool:
    """Whether rounding has let integrated (m, w) of balanced coordinates change sign.

    In exact arithmetic |m| = |w| lasts; where the drift shows that it did not, the path judges
    nothing.
    """
    balanced = (np.abs(factors.m) == np.abs(factors.w)) & (factors.m != 0)
    return bool(balanced.any()) and not invariant.holds


def _nearest(problem: Regression, origin: Array) -> Array:
    """The least-squares solution of Zx = y that is nearest to the origin in L2."""
    space = problem.row_space
    return origin + space.basis.rmatvec(space.b - space.basis.matvec(origin))


def _distance(x: Array, other: Array) -> float:
    return float(np.linalg.norm(x - other))


class _Clock:
    """Wall time between laps, in seconds."""

    def __init__(self) -> None:
        self.laps: Row = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._since
        self._since = now
