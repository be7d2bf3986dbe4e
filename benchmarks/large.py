"""The large problem in a process of its own: seconds and peak memory of each stage.

Peak memory is that of the whole process (data generation included) less what it held before the
data, in units of Z's n·d·8 bytes (dense) or of its CSR arrays.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import mirrorflow as mf
from benchmarks.measure import spread
from benchmarks.settings import starts
from mirrorflow.checks import Array
from mirrorflow.runs.store import Row
from mirrorflow.threads import controller

__all__ = ["DENSITIES", "STAGES", "run_stages", "stages"]

DENSITIES = {"dense": None, "sparse": 0.01}
TOTALS = (0.0, 1.0, 4.0)
NONZEROS = 20
END = 1.0
STAGES = (
    "generate",
    "factor Z",
    *(f"interpolator, A = {total:g}" for total in TOTALS),
    f"gradient_flow to t = {END:g}",
)


def _resident() -> tuple[int, int]:
    """Resident size of this process now and at its largest, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        most *= 1 if sys.platform == "darwin" else 1024
        return most, most
    # ru_maxrss would start at the size of the process that started this one
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    now, most = (1024 * int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return now, most


def _problem(n: int, d: int, density: float | None) -> tuple[mf.Regression, int]:
    """The problem, and the bytes of its Z."""
    if density is None:
        return mf.gaussian_recovery(n, d, NONZEROS, 0), 8 * n * d
    rng = np.random.default_rng(0)
    Z = scipy.sparse.random_array((n, d), density=density, format="csr", rng=rng)
    Z.data = rng.standard_normal(Z.nnz)
    x_true = np.zeros(d)
    x_true[rng.permutation(d)[:NONZEROS]] = rng.choice([-1.0, 1.0], NONZEROS)
    size = Z.data.nbytes + Z.indices.nbytes + Z.indptr.nbytes
    return mf.Regression(Z, Z @ x_true, x_true), size


def stages(n: int, d: int, density: float | None, repetitions: int) -> Iterator[dict[str, Any]]:
    """Build, factor, limits at each of `TOTALS`, and a flow to `END`: a row each, in turn.

    What is done once (building, factoring) has one time.
    """
    _ = mf.interpolator, mf.gradient_flow  # their modules are no part of the memory
    before, _ = _resident()
    start = time.perf_counter()
    problem, size = _problem(n, d, density)
    factors = starts(d, 1)[0]

    def row(stage: str, seconds: list[float], **figures: Any) -> dict[str, Any]:
        memory = {"peak_bytes": _resident()[1] - before, "z_bytes": size}
        return {"stage": stage, "seconds": seconds, **memory, **figures}

    names = iter(STAGES)
    yield row(next(names), [time.perf_counter() - start])
    start = time.perf_counter()
    _ = problem.row_space
    yield row(next(names), [time.perf_counter() - start])
    for total in TOTALS:
        seconds, limit = _timed(partial(mf.interpolator, problem, factors, total), repetitions)
        yield row(
            next(names),
            seconds,
            residual=float(np.abs(problem.Z @ limit.x - problem.y).max()),
            factorizations=float(limit.iterations),
            message=limit.message,
        )
    seconds, flow = _timed(
        lambda: mf.gradient_flow(problem, factors, mf.Constant(0.0), [0.0, END / 2, END]),
        repetitions,
    )
    yield row(
        next(names),
        seconds,
        right_hand_sides=float(flow.right_hand_sides),
        factorizations=float(flow.factorizations),
        message=flow.message,
    )


def run_stages(
    n: int, d: int, density: float | None, repetitions: int
) -> dict[str, tuple[Row, Array]]:
    """`stages` in a process of its own: row and seconds of each; "failed" where it ended."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        rows, reason = pool.submit(_collected, n, d, density, repetitions).result()
    failed: dict[str, tuple[Row, Array]] = {
        stage: ({"status": "failed", "message": reason}, np.zeros(0)) for stage in STAGES
    }
    return failed | {
        one.pop("stage"): ({"status": "measured", **one, **spread(seconds, "seconds")}, seconds)
        for one in rows
        if (seconds := np.array(one.pop("seconds"))).size
    }


def _collected(n: int, d: int, density: float | None, repetitions: int) -> tuple[list[Row], str]:
    """The rows of the stages that end, and what broke the others off."""
    rows: list[Row] = []
    try:
        with controller().limit(limits=1):
            rows.extend(stages(n, d, density, repetitions))
    except (ArithmeticError, MemoryError, ValueError) as error:
        return rows, str(error)
    return rows, ""


def _timed(compute: Callable[[], Any], repetitions: int) -> tuple[list[float], Any]:
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        answer = compute()
        seconds.append(time.perf_counter() - start)
    return seconds, answer
