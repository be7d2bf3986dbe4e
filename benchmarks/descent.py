"""Time per run and step: 100 runs of gradient descent at once against a plain loop over one.

    python benchmarks/descent.py                    # some 20 seconds
    python benchmarks/descent.py --steps 1000000    # the whole length, some 10 minutes

Both are timed in turn within each repetition, and the ratio is taken there, so that a busy
machine slows both. The problem is the paper's: 40 samples, 100 features, η = 1e-4. The number
of BLAS threads is the plain loop's; `descend` takes one at this size.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from typing import Any

import numpy as np

from mirrorflow import Factors, Regression, gaussian_recovery
from mirrorflow.descent import descend
from mirrorflow.runs.cli import command
from mirrorflow.stepwise import Stepwise

STEP_SIZE, ALPHA = 1e-4, 1e-3
KINDS: dict[str, dict[str, Any]] = {
    "gd factors": {},
    "gd mask_l1": {"regularizer": "mask_l1"},
    "gd l1_on_x": {"regularizer": "l1_on_x"},
    "sgd factors": {"batch_size": 5},
}


def plain_loop(problem: Regression, factors: Factors, steps: int) -> float:
    """Seconds of one run as a researcher writes it first."""
    Z, y, n = problem.Z, problem.y, problem.n
    m, w = factors.m, factors.w
    start = time.perf_counter()
    for _ in range(steps):
        g = Z.T @ (Z @ (m * w) - y) / n
        m, w = (m - STEP_SIZE * (w * g + 2 * ALPHA * m), w - STEP_SIZE * (m * g + 2 * ALPHA * w))
    return time.perf_counter() - start


def batched(problem: Regression, factors: list[Factors], steps: int, options: dict) -> float:
    """Seconds of all runs through the public function, all it does included."""
    start = time.perf_counter()
    descend(problem, factors, Stepwise("constant", ALPHA), STEP_SIZE, steps, **options)
    return time.perf_counter() - start


def summary(values: list[float]) -> str:
    return f"{np.median(values):6.2f} [{min(values):.2f}, {max(values):.2f}]"


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000, help="of the batched runs")
    parser.add_argument("--plain-steps", type=int, default=20000, help="of the plain loop")
    parser.add_argument("--runs", type=int, default=100, help="runs at once")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    problem = gaussian_recovery(40, 100, 5, seed=0)
    rng = np.random.default_rng(0)
    factors = [Factors.pilot(np.sqrt(0.1) * rng.standard_normal(100)) for _ in range(given.runs)]
    print(
        f"numpy {np.__version__}, python {platform.python_version()}, {os.cpu_count()} CPUs; "
        f"{given.runs} runs x {given.steps} steps, n = 40, d = 100, float64; "
        f"median [least, most] of {given.repetitions} repetitions, µs per run and step"
    )
    for kind in given.kinds:
        options = dict(KINDS[kind])
        if "batch_size" in options:
            options["seed"] = range(given.runs)
        # the first calls pay for memory and for the start of BLAS threads
        plain_loop(problem, factors[0], 1000)
        batched(problem, factors, 200, options)
        plain, fast = [], []
        for _ in range(given.repetitions):
            seconds = plain_loop(problem, factors[0], given.plain_steps)
            plain.append(1e6 * seconds / given.plain_steps)
            seconds = batched(problem, factors, given.steps, options)
            fast.append(1e6 * seconds / given.steps / given.runs)
        ratios = [one / other for one, other in zip(plain, fast, strict=True)]
        print(
            f"{kind:12s} plain GD {summary(plain)}   "
            f"batched {summary(fast)}   ratio {summary(ratios)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
